"""Embedded Kafka and Postgres: servers that need nothing installed by hand."""
