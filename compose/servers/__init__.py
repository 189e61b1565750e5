"""Embedded Kafka and Postgres: servers that need nothing installed by hand.

`server` is what both have in common, `processes` how nothing outlives who has started it; `service`
keeps a process of ours running. Nothing here knows what the servers are used for.
"""
