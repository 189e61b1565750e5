"""Who may do what: the least that each process needs of Kafka and of Postgres.

It is only printed: who may grant it hands it to a shell, or to psql. docs/SECURITY.md says more.
"""
