"""Reads a history, and names what must not be in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.history.anomalies import Anomaly
from tests.history.entries import ApplyBegun, Found, History, Record, Sent, Stands, WriteBegun
from tests.history.topics import Topics, check_topics
from tests.history.views import check_views


@dataclass(frozen=True)
class Verdict:
    """What was found, and what it was found by."""

    anomalies: list[Anomaly]
    compared: dict[str, int]
    """How many there were of each: nothing compared is nothing proven."""

    @property
    def missing(self) -> list[str]:
        """What there was nothing of, so that it was not compared."""
        return [name for name, count in self.compared.items() if not count]


def check(history: History) -> Verdict:
    """Compare all logs with the topics and the views at the end."""
    topics = Topics.of(history)
    anomalies = [*check_topics(history, topics), *check_views(history, topics)]
    return Verdict(list(dict.fromkeys(anomalies)), dict(_counts(history)))


def _counts(history: History) -> Iterator[tuple[str, int]]:
    yield "events written", _total(entry.events for _, entry in history.of(WriteBegun))
    yield "records sent", _total(entry.records for _, entry in history.of(Sent))
    yield "records found", _total(entry.records for _, entry in history.of(Found))
    yield (
        "records applied",
        _total(move.records for _, entry in history.of(ApplyBegun) for move in entry.moves),
    )
    yield "partitions of views", sum(1 for _ in history.of(Stands))


def _total(lists: Iterator[list[Record]]) -> int:
    return sum(map(len, lists))
