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
    UNLINKED = "unlinked"
    """A record that names another predecessor than the record before it in its partition."""
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
    """`Shop.relay`, `Shop.topic`, a view, or a table: `orders.customers`."""
    fault: Fault
    position: int | None = None
    partition: int | None = None
    offset: int | None = None
    aggregate: str | None = None
    type: str | None = None
    what: str


class TopicReport(msgspec.Struct, frozen=True):
    """What was compared of a topic."""

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
    deleted: int = 0
    """Notifications that were in the topic, and are deleted from its beginning, besides those."""


class ViewReport(msgspec.Struct, frozen=True):
    """What was compared of a view."""

    view: str
    exists: bool
    """False before a consumer has made it, or where it is out of reach: nothing is compared."""
    events: int = 0
    """Events of the write model that its tracking is past, where rows are compared with them."""
    rows: dict[str, int] = {}
    """Rows compared, by table."""
    parked: int = 0
    dropped: int = 0
    """Events that were dropped, and ranges of offsets that were skipped."""
    omitted: str = ""
    """What was not compared, and why; empty if all was."""
    as_asked: bool = False
    """It was asked to leave that out: it is no failure."""


class Report(msgspec.Struct, frozen=True):
    """What an audit compared, and what it found."""

    topics: list[TopicReport]
    views: list[ViewReport]
    counts: dict[str, int]
    """How often each fault was found."""
    findings: list[Finding]
    """The first of them in full."""

    @property
    def clean(self) -> bool:
        """Tell whether nothing was found."""
        return not self.counts

    @property
    def complete(self) -> bool:
        """Tell whether all that was asked for was compared."""
        return not any(view.omitted and not view.as_asked for view in self.views)

    @property
    def success(self) -> bool:
        """Tell whether all was compared, and nothing was found."""
        return self.clean and self.complete

    def __str__(self) -> str:
        """Say it in one sentence."""
        topics = [self._of_topic(topic) for topic in self.topics]
        return f"audited: {'; '.join([*self._found(), *topics, *map(_of_view, self.views)])}"

    def _found(self) -> Iterator[str]:
        if self.counts:
            counts = ", ".join(f"{count:,} {fault}" for fault, count in self.counts.items())
            total = sum(self.counts.values())
            yield f"{total:,} finding{'s' if total > 1 else ''} ({counts})"
        if not self.complete:
            yield "NOT all of it"

    def _of_topic(self, topic: TopicReport) -> str:
        return (
            f"{topic.application}: {topic.notifications:,} notifications, "
            + ("each published once, in order and unaltered" if self.clean else "compared")
            + (f", {topic.deleted:,} deleted from its beginning" if topic.deleted else "")
            + (f", {topic.gap:,} positions not published yet" if topic.gap else "")
        )


def _of_view(view: ViewReport) -> str:
    if not view.exists:
        return f"{view.view}: NOT compared, {view.omitted}"
    compared = [f"{count:,} {table}" for table, count in view.rows.items()] or ["its tracking"]
    return (
        f"{view.view}: {', '.join(compared)} compared"
        + (f", {view.parked:,} events parked" if view.parked else "")
        + (f", {view.dropped:,} dropped" if view.dropped else "")
        + (f", {_omitted(view)}" if view.omitted else "")
    )


def _omitted(view: ViewReport) -> str:
    return f"{'not' if view.as_asked else 'NOT'} compared: {view.omitted}"


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
