"""The record of an import: up to which commit, on the way to which tip."""

import sys
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic


@dataclass
class GitImport(Aggregate):
    """How far a history has been imported into this wiki, below a folder if it has a prefix."""

    root: str
    include: list[str]
    prefix: str = ""
    walks: list[tuple[str, str]] = field(init=False, default_factory=list)
    """Tips walked to, each with the last commit imported on the way; one, once it arrives."""

    class Event(Aggregate.Event):
        """Something that happened to an import."""

    class Created(Aggregate.Created, Event):
        """The import of a history began, of the files that match any of the globs."""

        root: str
        include: list[str]
        prefix: str = ""

    class CommitsImported(Event):
        """All commits on the way to a tip are imported, up to this one."""

        tip: str
        commit: str

    @staticmethod
    def create_id(root: str, prefix: str = "") -> UUID:
        """Return the one ID for the history that grew from this first commit, in this place."""
        return uuid5(NAMESPACE_URL, f"/imports/{root}" + (f"/{prefix}" if prefix else ""))

    @event(CommitsImported)
    def advance(self, tip: str, commit: str) -> None:
        """Remember the last commit imported on the way to a tip."""
        if commit == tip:  # which is an ancestor of none, so all earlier walks are done too
            self.walks = []
        elif self.walks and self.walks[-1][0] == tip:
            self.walks.pop()
        self.walks.append((tip, commit))


OLD_PATH = "producer.importer.record"
# What was stored before it moved here names it so.
register_topic(OLD_PATH, sys.modules[__name__])

CREATED_TOPICS = [f"{path}:{GitImport.Created.__qualname__}" for path in (__name__, OLD_PATH)]
"""How the beginning of an import is found among all that is stored."""
