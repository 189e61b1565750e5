"""Puts it together: an embedded Kafka and Postgres for a laptop, and what runs on them."""
