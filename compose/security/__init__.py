"""Who may do what: the least that each process needs of Kafka and of Postgres."""
