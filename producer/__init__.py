"""The write side, and the way into Kafka.

`outbox` reads the notifications of any application by position, `wire` makes them records, `relay`
publishes them, and `schema` describes them for readers in other languages. `kafka` is how Kafka is
reached, and `runtime` what every process needs; both, and the wire, are the consumers' as well.
`published` names the event types of an application, and `command_line` has the commands. Any other
room is an example's, which nothing here imports: its commands are found as entry points.
"""

if __name__ != "eventsourcing_kafka.producer":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.producer.")
