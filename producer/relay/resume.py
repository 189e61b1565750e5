"""Where a relay goes on: after it has seen what Kafka has, and that the write model has it, too.

What makes this right whatever has happened before: an earlier relay was killed in the middle of a
transaction, a transaction was torn by a late request, a broker lost its last seconds, a topic was
deleted, the position topic with it or alone, the database was restored from a backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eventsourcing_kafka.producer.outbox import Outbox
from eventsourcing_kafka.producer.relay.tails import Tail
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire.chain import Link, identity_of


class OtherWriteModelError(OperatorError):
    """Kafka has events that the write model does not have: it was restored, or is another one."""


class Resumed(NamedTuple):
    """From where a relay goes on."""

    position: int
    """Everything up to here is in every partition."""
    published: int
    """Up to here the last position record says that all is published; more than `position` where
    Kafka has lost something, which is then published again."""
    chain: list[Link]
    """The last record of each partition: of what is read again, only what is above is published."""


def resumed(said_position: int, said: Sequence[Tail], chain: list[Link]) -> Resumed:
    """Return where to go on, from what the position record says and what the partitions have.

    A partition is complete up to the position record's position if it has at least what that says
    of it; else up to its own last record.
    """
    complete = [
        said_position if link.position >= tail.position else link.position
        for link, tail in zip(chain, said, strict=True)
    ]
    return Resumed(min(complete), said_position, chain)


async def check_write_model(outbox: Outbox, application_name: str, chain: Sequence[Link]) -> None:
    """See that the write model has the last event of each partition, that very one.

    Raises `OtherWriteModelError` with what to do: new events would get positions that are
    published already.
    """
    published = {link.position: link.identity for link in chain if link.position}
    stored = await outbox.stored(list(published))
    missing = [
        position
        for position, identity in sorted(published.items())
        if position not in stored or identity_of(stored[position]) != identity
    ]
    if missing:
        raise OtherWriteModelError(
            f"Kafka has an event of {application_name} at position {missing[0]}, and its database "
            f"has {'another' if missing[0] in stored else 'none'} there, and events up to "
            f"{await outbox.head()}. It was restored from a backup, or it is another database. New "
            "events would get positions that are published already. Restore a newer backup, or "
            "publish to new topics: set another KAFKA_TOPIC_PREFIX, and fill the views anew."
        )
