"""What others do, as it was once measured elsewhere: nothing here is measured in this run.

Debezium 3.7, with exactly-once delivery and tuned for latency, carried 60,000 events of 300 to 700
bytes on a machine of two cores. Another machine would give it other figures,
so nothing is required of the ratios. Of a range the figure that is best for Debezium is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.benchmarks.figures import Figure, Line

ELSEWHERE = "measured once, elsewhere"


class Peer(NamedTuple):
    """A figure of Debezium."""

    what: str
    """The figure of ours that it stands beside."""
    how: str
    value: float
    more_is_better: bool = False


DEBEZIUM = (
    Peer("relay", "streaming", 28_000, more_is_better=True),
    Peer("relay", "catching up", 20_000, more_is_better=True),
    Peer("relay, commit to readable, p50", "p50", 11.5),
    Peer("relay, commit to readable, p99", "p99", 35),
    Peer("relay, process start to first record", "to its first record", 3),
    Peer("relay, memory at most", "memory when idle", 330),
)


def beside(lines: Sequence[Line]) -> Iterator[Line]:
    """Put Debezium's figures beside ours, as far as those were measured."""
    ours = {line.figure.what: line.figure for line in reversed(lines)}
    for peer in DEBEZIUM:
        if figure := ours.get(peer.what):
            against = f"Debezium 3.7, {peer.how}; {ELSEWHERE}"
            value, reference = figure.value, peer.value
            ratio = value / reference if peer.more_is_better else reference / value
            yield Line(
                Figure(peer.what, value, figure.unit, against, reference, ratio, ratio, ratio)
            )
