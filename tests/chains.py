"""Records as a relay appends them: each names its predecessor."""

from collections.abc import Iterable, Iterator

from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire import Record
from eventsourcing_kafka.producer.wire.chain import START, Chain, Link


def linked(record: Record, predecessor: Link = START) -> Record:
    """Return a record that names its predecessor; without one it is its partition's first."""
    Chain([predecessor]).append(0, record)
    return record


def chained(records: Iterable[Record], partitions: int) -> Iterator[Record]:
    """Yield records that name their predecessors, from the first of each partition on."""
    chain = Chain([START] * partitions)
    for record in records:
        assert chain.append(partition_of(record.key, partitions), record)
        yield record
