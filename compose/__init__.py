"""Puts it together: an embedded Kafka and Postgres for a laptop, and what runs on them."""

if __name__ != "eventsourcing_kafka.compose":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.compose.")
