"""What must not be in a history."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The anomalies of Jepsen's workload for Kafka, and one that it has no need of."""

    LOST_WRITE = "lost write"
    """What was committed is not there."""
    ABORTED_READ = "aborted read"
    """The topic has what was never committed."""
    DUPLICATE = "duplicate"
    """Something is there, or was applied, more often than once."""
    REORDERING = "reordering"
    """A record is behind one that comes after it."""
    SKIPPED_POSITION = "skipped position"
    """A view has passed over what it has not applied."""
    UNCOMMITTED_READ = "read of an uncommitted record"
    """A view has applied what the topic does not have."""
    UNWRITTEN = "record that nobody wrote"
    """The topic has what is in no log of any writer or relay."""


@dataclass(frozen=True)
class Anomaly:
    """One finding: what is wrong, where, and what shows it."""

    kind: Kind
    sentence: str
    where: str
    """The topic, or the view, and the partition."""
    position: int
    evidence: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return "\n  ".join([f"{self.kind}: {self.sentence}", *self.evidence])
