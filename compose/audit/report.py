"""What an audit finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

import msgspec


class Fault(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    """A notification that is not in the topic, or a row that is not in the view."""
    DOUBLED = "doubled"
    """A notification that is in the topic before."""
    MISORDERED = "misordered"
    """A record that is behind one of a higher position, or before one of a lower."""
    ALTERED = "altered"
    """A record that is not what the wire format makes of its notification; a row that differs."""
    FOREIGN = "foreign"
    """A record that is of no notification."""
    MISPLACED = "misplaced"
    """A record in another partition than its aggregate's."""
    SURPLUS = "surplus"
    """A row that no event made."""
    POSITION = "position"
    """The relay's position, or a view's tracking, that is not where it says."""
    UNACCOUNTED = "unaccounted"
    """A parked or dropped event of which there is no record in the topic."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be."""

    where: str
    """`relay`, `topic`, a view, or a table of one: `fts.pages`."""
    fault: Fault
    position: int | None = None
    partition: int | None = None
    offset: int | None = None
    aggregate: str | None = None
    type: str | None = None
    what: str


class TopicReport(msgspec.Struct, frozen=True):
    """What was compared of the topic."""

    application: str
    topic: str
    notifications: int
    """Notifications up to the relay's position, each of which must be in the topic once."""
    records: int
    """Records read: also later ones, and those that must not be there."""
    position: int
    """What the relay says it has published; taken first."""
    gap: int
    """Positions after that one, which are not published yet. It is not a fault."""


class ViewReport(msgspec.Struct, frozen=True):
    """What was compared of a view."""

    view: str
    exists: bool
    """False before a consumer has made it: there was nothing to compare."""
    events: int = 0
    """Events of the write model that its tracking is past."""
    rows: dict[str, int] = {}
    """Rows compared, by table."""
    parked: int = 0
    dropped: int = 0
    """Events that were dropped, and ranges of offsets that were skipped."""


class Report(msgspec.Struct, frozen=True):
    """What an audit compared, and what it found."""

    topic: TopicReport
    views: list[ViewReport]
    counts: dict[str, int]
    """How often each fault was found."""
    findings: list[Finding]
    """The first of them in full."""

    @property
    def clean(self) -> bool:
        """Tell whether nothing was found."""
        return not self.counts

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"audited: {'; '.join([self._of_topic(), *map(_of_view, self.views)])}"

    def _of_topic(self) -> str:
        each = f"{self.topic.notifications:,} notifications, "
        if self.clean:
            each += "each published once, in order and unaltered"
        else:
            counts = ", ".join(f"{count:,} {fault}" for fault, count in self.counts.items())
            total = sum(self.counts.values())
            each += f"{total:,} finding{'s' if total > 1 else ''} ({counts})"
        if self.topic.gap:
            each += f", {self.topic.gap:,} positions not published yet"
        return each


def _of_view(view: ViewReport) -> str:
    if not view.exists:
        return f"{view.view}: no consumer has made it yet"
    compared = [f"{count:,} {table}" for table, count in view.rows.items()] or ["its tracking"]
    return (
        f"{view.view}: {', '.join(compared)} compared"
        + (f", {view.parked:,} events parked" if view.parked else "")
        + (f", {view.dropped:,} dropped" if view.dropped else "")
    )


class Findings:
    """Collects what is found: all of it counted, and the first `limit` in full."""

    def __init__(self, limit: int) -> None:
        self.counts: Counter[str] = Counter()
        self._limit = limit
        self._full: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Take a finding in."""
        self.counts[finding.fault] += 1
        if self.are_wanted:
            self._full.append(finding)

    @property
    def are_wanted(self) -> bool:
        """Tell whether a further finding will be shown in full."""
        return len(self._full) < self._limit

    def __iter__(self) -> Iterator[Finding]:
        """Iterate over those in full."""
        return iter(self._full)
