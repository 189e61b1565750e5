"""The application that shows everything at once."""

from typing import Any, ClassVar, cast
from uuid import UUID

from eventsourcing.application import Application, ProjectorFunction
from eventsourcing.domain import MutableOrImmutableAggregate
from eventsourcing.persistence import EventStore, JSONTranscoder

from tests.systems.everything.domainmodel import (
    ExampleAggregateRoot,
    ExampleAsHex,
    project_for_snapshot,
)


class EverythingApplication(Application[UUID]):
    """Keeps aggregates encrypted, and takes a snapshot at every second version.

    It can't be opened without `CIPHER_KEY`. Aggregates are changed as one gets them, and given to
    `save`, which stores all that happened to them together or not at all. Of two copies that were
    changed, the second one saved raises the library's `IntegrityError`, and has to be got again.
    """

    env: ClassVar[dict[str, str]] = {"CIPHER_TOPIC": "eventsourcing.cipher:AESCipher"}
    snapshotting_intervals: ClassVar[dict[type[MutableOrImmutableAggregate[Any]], int]] = {
        ExampleAggregateRoot: 2
    }
    snapshotting_projectors: ClassVar[
        dict[type[MutableOrImmutableAggregate[Any]], ProjectorFunction[Any, Any]]
    ] = {ExampleAggregateRoot: project_for_snapshot}

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        """Let the entities of the cluster be stored in snapshots."""
        super().register_transcodings(transcoder)
        transcoder.register(ExampleAsHex())

    def get_example_aggregate(
        self, aggregate_id: UUID, version: int | None = None
    ) -> ExampleAggregateRoot:
        """Return the aggregate as it is, or as it was at a version.

        Raises the library's `AggregateNotFoundError` for one that is not, or is no more.
        """
        return self.repository.get(aggregate_id, version=version)

    def get_snapshot(
        self, aggregate_id: UUID, version: int | None = None
    ) -> ExampleAggregateRoot.Snapshot | None:
        """Return the last snapshot, or the last one not after a version; None before the first."""
        store = cast("EventStore[UUID]", self.snapshots)
        snapshots = store.get(aggregate_id, lte=version, desc=True, limit=1)
        return cast("ExampleAggregateRoot.Snapshot | None", next(snapshots, None))
