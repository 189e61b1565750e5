"""The write side, and the way into Kafka.

`outbox` reads the notifications of any application by position, `wire` makes them records, `relay`
publishes them, and `schema` describes them for readers in other languages. `kafka` is how Kafka is
reached, and `runtime` what every process needs; both, and the wire, are the consumers' as well.
`contentmanagement` is the example: the write model of a wiki, made with the `eventsourcing`
library. `importer` fills it with the history of a git repository, `published` names its event
types, and `command_line` has the commands of all.
"""

if __name__ != "eventsourcing_kafka.producer":  # Two copies of a module know nothing of each other.
    raise ImportError("This package is called eventsourcing_kafka.producer.")
