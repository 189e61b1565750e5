"""What is shown of each part: how it is, in words, and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from anyio import current_time

from eventsourcing_kafka.compose.audit.kept import KeptAudit
from eventsourcing_kafka.compose.monitor.top import most_urgent
from eventsourcing_kafka.compose.web.pipeline.jobs import Job, Jobs
from eventsourcing_kafka.compose.web.pipeline.plots import Plot, gap_plot, rate_plot
from eventsourcing_kafka.compose.web.pipeline.polling import OLD_SECONDS, PartHistory, Poller
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, gap_of
from eventsourcing_kafka.producer.relay import RelayStatus, TopicStatus
from eventsourcing_kafka.producer.runtime.health import READY_LAG_SECONDS, Down

MOST_ROWS = 24
"""Partitions that are shown of one topic, or view: those that somebody should look at first."""

T = TypeVar("T")


class Tone(StrEnum):
    """How urgent it is that somebody looks."""

    WELL = "well"
    UNKNOWN = "unknown"
    CARE = "care"
    BAD = "bad"


URGENCY = list(Tone)
"""From the least to the most."""


class Verdict(NamedTuple):
    """Something that is to be said of a part."""

    tone: Tone
    words: str


class Lane(NamedTuple):
    """A partition of a topic."""

    number: int
    end: int
    share: float
    """Of the longest one."""


class Row(NamedTuple):
    """A partition of a view."""

    status: PartitionStatus
    rate: str


class Card(NamedTuple):
    """A part."""

    kind: str
    name: str
    verdicts: Sequence[Verdict]
    """What somebody should look at; if there is nothing, it says so."""
    age: str
    figures: Sequence[tuple[str, str]] = ()
    plots: Sequence[Plot] = ()
    lanes: Sequence[Lane] = ()
    rows: Sequence[Row] = ()
    left_out: int = 0
    parked: int = 0
    job: Job | None = None
    hosted: bool = False
    """Whether it is a follower, and no view of ours."""
    replayable: bool = True
    records_into: str = ""
    """The application that it is as well, if that is shown, too."""

    @property
    def tone(self) -> Tone:
        """The most urgent one."""
        return max((verdict.tone for verdict in self.verdicts), key=URGENCY.index)

    @property
    def id(self) -> str:
        """What it is called within the page."""
        return f"{self.kind}-{self.name}".lower().replace(" ", "-")


class Stream(NamedTuple):
    """The parts of one application, in the order in which events come through them."""

    application: str
    outbox: Card
    relay: Card
    topic: Card
    views: Sequence[Card]
    """Its followers, too."""

    @property
    def cards(self) -> Sequence[Card]:
        """All of them."""
        return [self.outbox, self.relay, self.topic, *self.views]


class Flow(NamedTuple):
    """All that there is: applications, and what follows them."""

    at: datetime
    streams: Sequence[Stream]
    audit: Job | None

    @property
    def urgent(self) -> Sequence[Card]:
        """Parts that somebody should look at."""
        cards = [card for stream in self.streams for card in stream.cards]
        return [card for card in cards if card.tone is not Tone.WELL]

    @property
    def tone(self) -> Tone:
        """The most urgent one of all."""
        return max((card.tone for card in self.urgent), key=URGENCY.index, default=Tone.WELL)


def flow_of(poller: Poller, jobs: Jobs) -> Flow:
    """Return what is shown now."""
    parts = zip(poller.heads, poller.relays, poller.topics, strict=True)
    streams = [
        Stream(
            head.name,
            _card("outbox", head, _outbox),
            _card("relay", relay, _relay),
            _card("topic", topic, _topic),
            [_follower(history, poller, jobs) for history in poller.views_of(head.name)],
        )
        for head, relay, topic in parts
    ]
    return Flow(datetime.now(UTC), streams, _audit(poller, jobs))


def _audit(poller: Poller, jobs: Jobs) -> Job | None:
    """Return the last audit: one that runs here, or the latest that has ended, whoever ran it."""
    own, kept = jobs.latest("audit", "pipeline"), poller.audit.found
    if not isinstance(kept, KeptAudit) or (own and (not own.ended or own.ended >= kept.at)):
        return own
    return Job(
        "audit",
        "pipeline",
        kept.by,
        began=kept.at - timedelta(seconds=kept.seconds),
        ended=kept.at,
        outcome=str(kept.report),
        report=kept.report,
    )


def _follower(history: PartHistory[Sequence[PartitionStatus]], poller: Poller, jobs: Jobs) -> Card:
    """Return the card of a view, or of a follower: that leads to what it records, if it does."""
    return _card("view", history, _view)._replace(
        job=jobs.latest("rebuild", history.name),
        hosted=history.name in poller.hosted,
        replayable=history.name in poller.replayable,
        records_into=poller.records_into(history.name),
    )


def _card(
    kind: str, history: PartHistory[T], fill: Callable[[Card, PartHistory[T], T], Card]
) -> Card:
    """Return the card of a part: of what is known of it."""
    found = history.found
    if found is None:
        return Card(kind, history.name, [Verdict(Tone.UNKNOWN, "is being read")], "")
    if isinstance(found, Down):
        since = history.down_since
        words = f"down: {found.down}"
        told = f"since {since:%H:%M:%S} UTC" if since else ""
        plots = [rate_plot(history.points, current_time(), None)]
        return Card(kind, history.name, [Verdict(Tone.BAD, words)], told, plots=plots)
    age = history.age or 0.0
    card = Card(kind, history.name, [], f"read {age:.0f} s ago" if age > OLD_SECONDS else "")
    card = fill(card, history, found)
    return card if card.verdicts else card._replace(verdicts=[Verdict(Tone.WELL, "well")])


def _outbox(card: Card, history: PartHistory[int], head: int) -> Card:
    return card._replace(figures=[("head", f"{head:,}")], plots=[_rate_of(history)])


def _relay(card: Card, history: PartHistory[RelayStatus], found: RelayStatus) -> Card:
    verdicts = list(_behind(found.gap, found.lag_seconds))
    if not found.owner:
        verdicts.insert(0, Verdict(Tone.BAD, "nobody relays"))
    return card._replace(
        verdicts=verdicts,
        figures=[
            ("position", f"{found.position:,}"),
            ("gap", f"{found.gap:,}"),
            ("lag", _seconds(found.lag_seconds)),
            ("relayed by", found.owner or "nobody"),
        ],
        plots=[_rate_of(history), _gap_of(history, found.gap)],
    )


def _topic(card: Card, history: PartHistory[TopicStatus], found: TopicStatus) -> Card:
    if not found.partitions:
        return card._replace(verdicts=[Verdict(Tone.CARE, "is not there yet")])
    lacking = Verdict(Tone.BAD, f"{found.under_replicated} partitions lack replicas")
    longest = max(*found.ends, 1)
    lanes = [Lane(number, end, end / longest) for number, end in enumerate(found.ends)]
    return card._replace(
        verdicts=[
            *([lacking] if found.under_replicated else []),
            *(Verdict(Tone.CARE, limit) for limit in found.limits),
        ],
        figures=[
            ("topic", found.topic),
            ("offsets", f"{found.offsets:,}"),
            ("partitions", f"{found.partitions:,}"),
        ],
        plots=[_rate_of(history)],
        lanes=lanes[:MOST_ROWS],
        left_out=len(lanes) - len(lanes[:MOST_ROWS]),
    )


def _view(
    card: Card, history: PartHistory[Sequence[PartitionStatus]], found: Sequence[PartitionStatus]
) -> Card:
    if not found:
        return card._replace(verdicts=[Verdict(Tone.CARE, "there is no topic yet")])
    gap, parked = gap_of(found), sum(row.parked for row in found)
    lag = max(row.lag_seconds for row in found)
    shown = most_urgent(found, MOST_ROWS)
    rebuilt = [row.rebuild_gap for row in found if row.rebuild_gap is not None]
    return card._replace(
        verdicts=[
            *_stopped(found),
            *_unowned(found),
            *_from_write_model(found),
            *_behind(gap, lag),
            *([Verdict(Tone.CARE, f"{parked:,} parked")] if parked else []),
        ],
        figures=[
            ("gap", "unknown" if gap is None else f"{gap:,}"),
            ("lag", _seconds(lag)),
            ("records", f"{sum(row.records for row in found):,}"),
            ("dropped", f"{sum(row.dropped for row in found):,}"),
            ("consumed by", _owners(found)),
            *([("new generation", f"{sum(rebuilt):,} behind")] if rebuilt else []),
        ],
        plots=[_rate_of(history), _gap_of(history, gap)],
        rows=[Row(row, _per_second(history.rate(_records_of(row.partition)))) for row in shown],
        left_out=len(found) - len(shown),
        parked=parked,
    )


def _stopped(rows: Iterable[PartitionStatus]) -> Sequence[Verdict]:
    return [
        Verdict(Tone.BAD, f"partition {row.partition} has stopped: {row.stopped}")
        for row in rows
        if row.stopped
    ]


def _unowned(rows: Sequence[PartitionStatus]) -> Sequence[Verdict]:
    alone = [row.partition for row in rows if not row.owner]
    if len(alone) == len(rows):
        return [Verdict(Tone.BAD, "nobody consumes")]
    numbers = ", ".join(map(str, alone[:MOST_ROWS]))
    return [Verdict(Tone.BAD, f"nobody has partition {numbers}")] if alone else []


def _from_write_model(rows: Iterable[PartitionStatus]) -> Sequence[Verdict]:
    numbers = [str(row.partition) for row in rows if row.from_write_model]
    what = f"reads what Kafka has deleted from the write model: partition {', '.join(numbers)}"
    return [Verdict(Tone.CARE, what)] if numbers else []


def _behind(gap: int | None, lag_seconds: float) -> Sequence[Verdict]:
    if gap is None:
        return [Verdict(Tone.CARE, "what is applied last is not there: the gap is not known")]
    if not gap or lag_seconds <= READY_LAG_SECONDS:
        return []
    return [Verdict(Tone.CARE, f"is behind: gap {gap:,}, lag {_seconds(lag_seconds)}")]


def _owners(rows: Iterable[PartitionStatus]) -> str:
    owners = Counter(row.owner for row in rows if row.owner)
    names = [f"{owner} ({count})" for owner, count in sorted(owners.items())[:MOST_ROWS]]
    return ", ".join(names) or "nobody"


def _rate_of(history: PartHistory[Any]) -> Plot:
    return rate_plot(history.points, current_time(), history.rate())


def _gap_of(history: PartHistory[Any], gap: int | None) -> Plot:
    return gap_plot(history.points, current_time(), gap)


def _records_of(partition: int) -> Callable[[Sequence[PartitionStatus]], int]:
    return lambda rows: sum(row.records for row in rows if row.partition == partition)


def _per_second(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}/s"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s"
