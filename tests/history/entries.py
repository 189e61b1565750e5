"""What is logged: JSON lines, a file a process, each line written before anything depends on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

UNKNOWN_OFFSET = -1

SUFFIX = ".jsonl"


class Outcome(StrEnum):
    """What a process knows of what it did. One that was killed says nothing: that is `UNKNOWN`."""

    OK = "ok"
    FAILED = "failed"
    """It has certainly not happened."""
    UNKNOWN = "unknown"


class Change(StrEnum):
    """What somebody did to the whole from outside, that explains what else would be an anomaly."""

    REPLAY = "replay"
    """A view applies from the start what it has applied."""
    REBUILD = "rebuild"
    """A view is filled from the start, beside the one there is."""
    DATABASE_CRASH = "database crash"
    """Views may have lost what they committed in the last seconds, with their tracking."""
    TOPIC_CHANGE = "topic change"
    """Records may be gone, or have got other offsets: it was made anew, or has lost its end."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One event, and where it is, as far as whoever logs it knows."""

    position: int
    """0 while it is not known."""
    aggregate: str
    version: int
    mark: str = ""
    """Tells two events apart that have the same place: when they happened."""
    offset: int = UNKNOWN_OFFSET

    @property
    def event(self) -> tuple[str, int, str]:
        """What it is, wherever it is."""
        return (self.aggregate, self.version, self.mark)

    def __str__(self) -> str:
        at = "" if self.offset == UNKNOWN_OFFSET else f", offset {self.offset}"
        return f"position {self.position} ({self.aggregate}:{self.version}{at})"


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A line of a log."""

    at: float = msgspec.field(default_factory=time.monotonic)
    """Seconds, by a clock that all processes of a machine share."""


class WriteBegun(Entry, frozen=True):
    """A writer is about to commit events, whose positions it does not know yet."""

    call: int
    events: list[Record]


class WriteEnded(Entry, frozen=True):
    """It knows what has become of that."""

    call: int
    outcome: Outcome
    positions: list[int] = []


class Sent(Entry, frozen=True):
    """A relay is about to send records of one partition, in a Kafka transaction of its."""

    transaction: int
    send: int
    topic: str
    partition: int
    records: list[Record]


class Acknowledged(Entry, frozen=True):
    """Kafka has them, from this offset on."""

    send: int
    offset: int


class Ending(Entry, frozen=True):
    """A relay is about to ask Kafka to commit its transaction, or to abort it."""

    transaction: int
    commit: bool


class Ended(Entry, frozen=True):
    """It has an answer to that, or an error."""

    transaction: int
    outcome: Outcome


class Move(msgspec.Struct, frozen=True):
    """What a view transaction does with one partition."""

    topic: str
    partition: int
    start: int
    """The position that its tracking moves from."""
    end: int
    """The position that it moves to."""
    records: list[Record]
    """What is applied, or set aside, in the same transaction."""


class ApplyBegun(Entry, frozen=True):
    """A consumer is about to apply records to a view, in one transaction."""

    transaction: int
    view: str
    moves: list[Move]


class ApplyEnded(Entry, frozen=True):
    """It knows what has become of that."""

    transaction: int
    outcome: Outcome


class Changed(Entry, frozen=True):
    """An operator, or a fault, is about to change something."""

    what: Change
    view: str = ""
    partitions: list[int] | None = None
    """Of the view; None is all of them."""
    topic: str | None = None
    """That changes; None is all of them."""


class Found(Entry, frozen=True):
    """What a reader of what is committed has found in a partition, all of it, at the end.

    Or at some time before its beginning was deleted: that goes with what is found at the end.
    """

    topic: str
    partition: int
    records: list[Record]
    complete: bool = True
    """Whether everything is to be there: not in a topic that has been left for another one."""


class Stands(Entry, frozen=True):
    """Where a view is at the end, by its own tracking, when nothing is left to do."""

    view: str
    partition: int
    position: int


AnyEntry = (
    WriteBegun
    | WriteEnded
    | Sent
    | Acknowledged
    | Ending
    | Ended
    | ApplyBegun
    | ApplyEnded
    | Changed
    | Found
    | Stands
)

E = TypeVar("E", bound=Entry)


class Journal:
    """The log of one process. What is written is there, even if the process is killed next."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @classmethod
    def of_this_process(cls, folder: Path, name: str) -> Journal:
        """Open one under a name that no other process has, and no earlier one of its number."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"{name}-{os.getpid()}-{time.monotonic_ns()}{SUFFIX}")

    def write(self, entry: AnyEntry) -> None:
        """Add a line."""
        os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class History:
    """All logs, by the names of their processes."""

    def __init__(self, logs: Mapping[str, Sequence[AnyEntry]]) -> None:
        self.logs = logs

    @classmethod
    def read(cls, folder: Path) -> History:
        """Read all logs of a folder. A last line that was cut off never took effect."""
        return cls({path.stem: list(_lines(path)) for path in sorted(folder.glob(f"*{SUFFIX}"))})

    def of(self, kind: type[E]) -> Iterator[tuple[str, E]]:
        """Yield all entries of a kind, and whose they are."""
        for process, entries in self.logs.items():
            for entry in entries:
                if isinstance(entry, kind):
                    yield process, entry


def _lines(path: Path) -> Iterable[AnyEntry]:
    decoder = msgspec.json.Decoder(AnyEntry)
    *whole, _cut_off = path.read_bytes().split(b"\n")
    return map(decoder.decode, whole)
