"""One screen of how far everything is."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.compose.monitor.overview import RATED_OVER, Overview, rate
from eventsourcing_kafka.consumer.operations.status import PartitionStatus, gap_of
from eventsourcing_kafka.producer.relay import RelayStatus, TopicStatus
from eventsourcing_kafka.producer.runtime.health import Down

TEXT_COLUMNS = ("owner", "rebuild", "stopped")
"""Columns that are not figures."""

LINES_BESIDE_PARTITIONS = 4
"""What a view needs besides its partitions: its name, a heading, what is left out, a space."""


class Top:
    """Renders one overview after the other, with the rates between them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._readings: deque[Overview] = deque(maxlen=RATED_OVER)

    def render(self, now: Overview) -> RenderableType:
        """Render an overview."""
        self._readings.append(now)
        height = self._console.height if self._console.is_terminal else sys.maxsize
        room = (height - 2 - 4 * len(now.relays)) // max(1, len(now.views))
        return Group(
            Text(f"{now.at.astimezone():%H:%M:%S}", "bold"),
            *(self._outbox(name, found) for name, found in now.heads.items()),
            *(self._relay(name, found) for name, found in now.relays.items()),
            *(self._topic(name, found) for name, found in now.topics.items()),
            *(
                self._view(name, found, room - LINES_BESIDE_PARTITIONS)
                for name, found in now.views.items()
            ),
        )

    def _outbox(self, name: str, found: int | Down) -> RenderableType:
        if isinstance(found, Down):
            return _down(f"outbox of {name}", found)
        grows = self._rate(lambda then: _number(then.heads[name]))
        return _line(f"outbox of {name}", f"head {found:,}", grows)

    def _relay(self, name: str, found: RelayStatus | Down) -> RenderableType:
        if isinstance(found, Down):
            return _down(f"relay of {name}", found)
        grows = self._rate(lambda then: _field(then.relays, name, "position"))
        return _line(
            f"relay of {name}",
            f"position {found.position:,} of {found.head:,}",
            _gap(found.gap),
            f"lag {found.lag_seconds:.1f} s",
            grows,
            f"by {found.owner}" if found.owner else Text("nobody relays", "red"),
        )

    def _topic(self, name: str, found: TopicStatus | Down) -> RenderableType:
        if isinstance(found, Down):
            return _down(f"topic of {name}", found)
        if not found.partitions:
            return _line(f"topic {found.topic}", Text("is not there yet", "yellow"))
        lacking = Text(f"{found.under_replicated} partitions lack replicas", "red")
        return _line(
            f"topic {found.topic}",
            f"{found.partitions} partitions",
            f"{found.offsets:,} offsets",
            self._rate(lambda then: _field(then.topics, name, "offsets")),
            lacking if found.under_replicated else "in sync",
        )

    def _view(
        self, name: str, found: Sequence[PartitionStatus] | Down, room: int
    ) -> RenderableType:
        if isinstance(found, Down):
            return _down(f"view {name}", found)
        if not found:
            return _line(f"view {name}", Text("has not run yet: there is no topic", "yellow"))
        parked, gap = sum(row.parked for row in found), gap_of(found)
        owners = {row.owner for row in found if row.owner}
        summary = _line(
            f"view {name}",
            _gap(gap),
            f"lag {max((row.lag_seconds for row in found), default=0.0):.1f} s",
            self._rate(partial(_records, name, None)),
            _parked(parked, " parked"),
            *([] if found[0].has_run else [Text("has not run yet", "red")]),
            f"{len(owners)} consuming" if owners else Text("nobody consumes", "red"),
        )
        shown = most_urgent(found, max(1, room))
        left_out = len(found) - len(shown)
        more = [Text(f"  and {left_out} more, with no larger gap", "dim")] if left_out else []
        return Group(summary, self._partitions(name, shown), *more, "")

    def _partitions(self, view: str, rows: Sequence[PartitionStatus]) -> Table:
        columns: dict[str, Sequence[str | Text]] = {
            "partition": [str(row.partition) for row in rows],
            "position": [f"{row.position:,}" for row in rows],
            "gap": [_gap(row.gap, "") for row in rows],
            "lag": [f"{row.lag_seconds:.1f} s" for row in rows],
            "rate": [self._rate(partial(_records, view, row.partition)) for row in rows],
            "parked": [_parked(row.parked, "") for row in rows],
            "owner": [row.owner or Text("nobody", "red") for row in rows],
            "source": ["write model" if row.from_write_model else "" for row in rows],
            "rebuild": [_rebuild(row.rebuild_gap) for row in rows],
            "stopped": [Text(row.stopped or "", "red") for row in rows],
        }
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        filled = {name: cells for name, cells in columns.items() if any(map(str, cells))}
        for name in filled:
            table.add_column(
                name, justify="left" if name in TEXT_COLUMNS else "right", no_wrap=True
            )
        for cells in zip(*filled.values(), strict=True):
            table.add_row(*cells)
        return table

    def _rate(self, of: Callable[[Overview], int | None]) -> str:
        """Return how fast a figure grows; nothing while that is not known."""
        first, last = self._readings[0], self._readings[-1]
        grown = rate(of(first), of(last), (last.at - first.at).total_seconds())
        return "" if grown is None else f"{grown:,.0f}/s"


def _line(name: str, *cells: str | Text) -> Text:
    texts = [Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return Text("  ").join([Text(f"{name:30}", "bold"), *(cell for cell in texts if cell.plain)])


def _down(name: str, found: Down) -> Text:
    return _line(name, Text(f"down: {found.down}", "bold red"))


def _gap(gap: int | None, word: str = "gap ") -> Text:
    if gap is None:
        return Text(f"{word}unknown", "red")
    return Text(f"{word}{gap:,}", "yellow" if gap else "green")


def _parked(count: int, words: str) -> Text:
    return Text(f"{count:,}{words}", "red" if count else "")


def _rebuild(gap: int | None) -> str:
    return "" if gap is None else f"{gap:,} behind"


def _number(found: int | Down) -> int | None:
    """Return a figure; None if it could not be read."""
    return None if isinstance(found, Down) else found


def _field(found: Mapping[str, object], name: str, field: str) -> int | None:
    """Return a figure of a part; None if it could not be read."""
    return getattr(found.get(name), field, None)


def _records(view: str, partition: int | None, overview: Overview) -> int | None:
    """Return how many records a view has taken in, of one partition or of all."""
    found = overview.views.get(view)
    if found is None or isinstance(found, Down):
        return None
    return sum(row.records for row in found if partition in (None, row.partition))


def most_urgent(rows: Sequence[PartitionStatus], room: int) -> Sequence[PartitionStatus]:
    """Return so many partitions, in order: those that somebody should look at first."""

    def urgency(row: PartitionStatus) -> tuple[bool, bool, int, int]:
        return not row.stopped, row.gap is not None, -(row.gap or 0), -row.parked

    return sorted(sorted(rows, key=urgency)[:room], key=lambda row: row.partition)
