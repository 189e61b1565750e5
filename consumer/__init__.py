"""The way out of Kafka: the same policies that the library's own runners would apply.

A folder that has a `VIEW` is a view: `fts` is the search. `subscription` brings batches of
events, in one group for each view; `unit_of_work` is what a policy reads and writes; `tracking`
says how far a view is, and guards it; `applying` puts a batch and its tracking into one Postgres
transaction; `sharing` gives batches to who is free; `consumer` is the loops around them.
"""

if __name__ != "eventsourcing_kafka.consumer":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.consumer.")
