"""What others do, as it was measured by programs of their own, and not in this run.

On 27 and 28 November 2026, on the machine of these benchmarks, in turn with them: Debezium 3.7.0 as
a source, exactly once and in its quickest profile; and its JDBC sink, 3.6.0, at least once, tuned
(batches of 2,500, the reduction buffer, one statement a batch) and warm, one task. Another machine
would give other figures, so nothing is required of the ratios. Of a range the figure that is best
for Debezium is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.benchmarks.figures import Figure, Line

BY_ITSELF = "measured by itself"


class Peer(NamedTuple):
    """A figure of Debezium."""

    what: str
    """The figure of ours that it stands beside."""
    how: str
    value: float
    more_is_better: bool = False


DEBEZIUM = (
    Peer("relay", "3.7, streaming", 36_700, more_is_better=True),
    Peer("relay", "3.7, catching up", 31_500, more_is_better=True),
    Peer("relay, commit to readable, p50", "3.7, p50", 6.1),
    Peer("relay, commit to readable, p99", "3.7, p99", 18),
    Peer("relay, process start to first record", "3.7, to its first record", 3),
    Peer("relay, memory at most", "3.7, memory", 440),
    Peer(
        "a row for each aggregate, exactly once",
        "JDBC sink 3.6, tuned and warm, at least once",
        58_114,
        more_is_better=True,
    ),
)


def beside(lines: Sequence[Line]) -> Iterator[Line]:
    """Put Debezium's figures beside ours, as far as those were measured."""
    ours = {line.figure.what: line.figure for line in reversed(lines)}
    for peer in DEBEZIUM:
        if figure := ours.get(peer.what):
            against = f"Debezium {peer.how}; {BY_ITSELF}"
            value, reference = figure.value, peer.value
            ratio = value / reference if peer.more_is_better else reference / value
            yield Line(
                Figure(peer.what, value, figure.unit, against, reference, ratio, ratio, ratio)
            )
