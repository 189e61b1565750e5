"""The write side, and the way into Kafka.

`contentmanagement` is a write model: a wiki, made with the `eventsourcing` library. `outbox` reads
the notifications of any application by position, `wire` makes them records, `relay` publishes
them, and `schema` describes them for those who read them elsewhere. `importer` fills the wiki with
the history of a git repository.
"""

if __name__ != "eventsourcing_kafka.producer":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.producer.")
