"""Where a relay goes on: after it has seen what Kafka has, and that the write model has it, too.

There is no other way of repair. Whatever has happened before (a relay was killed in the middle of
a transaction, a late request tore one, a broker lost its last seconds, a topic was deleted, with
its position topic or alone), the tails of the partitions tell from where to publish again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.outbox import Outbox
from eventsourcing_kafka.producer.relay.tails import Tail
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.wire.chain import Link, identity_of
from eventsourcing_kafka.producer.wire.position import Published


class OtherWriteModelError(OperatorError):
    """Kafka has what the write model does not have: it was restored, or it is another one."""

    def __init__(self, name: str, position: int, found: str) -> None:
        super().__init__(
            f"Kafka has the events of {name} up to position {position}, and its database {found}. "
            "It was restored from a backup, or it is another one. New events would get positions "
            "that are published already. Restore a newer backup, or publish to new topics: set "
            "another KAFKA_TOPIC_PREFIX, and rebuild the views."
        )


def position_to_go_on(last: Published | None, tails: Sequence[Tail]) -> int:
    """Return the position up to which all partitions are complete.

    One is complete up to the last record's position if it has at least what that says of it, else
    up to its own tail. Of what is read again, only what lies above a partition's tail is published.
    """
    if last is None:
        return 0
    return min(
        last.position if tail.link.position >= said.position else tail.link.position
        for tail, said in zip(tails, last.said, strict=True)
    )


class OtherApplicationError(OperatorError):
    """The topics are those of an application of another name."""

    def __init__(self, name: str, published: str, topics: Topics) -> None:
        super().__init__(
            f"{topics.events} has the events of {published!r}, and this is {name!r}: for readers "
            "that is another application. Say its name exactly, or set another KAFKA_TOPIC_PREFIX."
        )


def check_application(last: Published | None, name: str, topics: Topics) -> None:
    """See that what is published is of this very application. Raises `OtherApplicationError`."""
    if last and last.application not in ("", name):
        raise OtherApplicationError(name, last.application, topics)


async def check_write_model(
    outbox: Outbox, name: str, last: Published | None, ends: Iterable[Link]
) -> None:
    """See that the write model has the last event of each partition: that very one.

    A database that was restored may have grown past what is published, with other events. Raises
    `OtherWriteModelError`.
    """
    position, head = last.position if last else 0, await outbox.head()
    if position > head:
        raise OtherWriteModelError(name, position, f"only up to {head}")
    published = {link.position: link.identity for link in ends if link.position}
    stored = await outbox.stored(sorted(published))
    for at, identity in sorted(published.items()):
        if at not in stored:
            raise OtherWriteModelError(name, max(position, at), f"none at position {at}")
        if identity_of(stored[at]).decode() != identity:
            raise OtherWriteModelError(name, max(position, at), f"another one at position {at}")
