"""Commits as git shows them, read from what is stored of each.

libgit2 refuses a commit whose author line or date is malformed, and with it every walk that comes
by. Git itself shows what it can make out of such a line, follows replacements and grafts, and
converts what is not in UTF-8. So do these functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_TIME = 2**63 - 1
MOST_DIGITS = 20
LAST_YEAR = 9998
"""That all time zones have, and so has the second."""

SIGNATURE = re.compile(
    rb"(?P<name>[^<]*)<(?P<email>[^>]*)>"
    rb"(?:.*>)?"  # The date comes after the last bracket.
    rb"(?:[ \t\r]*(?P<seconds>-?[0-9]+)[ \t\r]+[+-][0-9]+)?",
    re.DOTALL,
)


class Commit(NamedTuple):
    """Where a commit stands in the history, and what it holds."""

    tree: str | None
    """None if the commit doesn't say."""
    parents: tuple[str, ...]
    time: int
    """When it was committed, in seconds since 1970, which orders commits; 0 if it doesn't say."""


class Author(NamedTuple):
    """Who made a change, and when."""

    name: str
    email: str
    at: datetime | None
    """In UTC; None if the commit gives no date that there can be."""


def read_commit(raw: bytes) -> Commit:
    """Return what a stored commit says of its place."""
    trees = [value for key, value in _headers(raw) if key == b"tree"]
    parents = [value for key, value in _headers(raw) if key == b"parent"]
    return Commit(
        trees[0].decode("ascii", "replace") if trees else None,
        tuple(parent.decode("ascii", "replace") for parent in parents),
        min(max(_seconds(_signature(raw, b"committer")) or 0, -LATEST_TIME), LATEST_TIME),
    )


def read_author(raw: bytes) -> Author | None:
    """Return who a stored commit says is its author; None if it doesn't, or has no address."""
    signature = _signature(raw, b"author")
    if signature is None:
        return None
    encoding = next((value for key, value in _headers(raw) if key == b"encoding"), b"")
    name, email = (
        _decoded(signature[part].strip(b" \t\r\n"), encoding) for part in ("name", "email")
    )
    return Author(name, email, _moment(_seconds(signature)))


def in_order(commits: Mapping[str, Commit], tip: str) -> list[str]:
    """Return commits that lead to the tip: parents first, then by time.

    Among commits of the same second it is as libgit2 has them, since what an earlier version has
    imported in part is known by where it stopped.
    """
    children = dict.fromkeys(commits, 0)
    for commit in commits.values():
        for parent in commit.parents:
            children[parent] += 1
    latest_first = []
    queue = _Queue(commits)
    queue.push(tip)
    while commit_id := queue.pop():
        latest_first.append(commit_id)
        for parent in commits[commit_id].parents:
            children[parent] -= 1
            if not children[parent]:
                queue.push(parent)
    return latest_first[::-1]


class _Queue:
    """A heap of commits, the latest first. Which of two of the same time comes first is its own."""

    def __init__(self, commits: Mapping[str, Commit]) -> None:
        self._commits = commits
        self._heap: list[str] = []

    def push(self, commit_id: str) -> None:
        at = len(self._heap)
        self._heap.append(commit_id)
        while at and self._later(commit_id, self._heap[above := (at - 1) // 2]):
            self._heap[at] = self._heap[above]
            at = above
        self._heap[at] = commit_id

    def pop(self) -> str | None:
        if not self._heap:
            return None
        first, last = self._heap[0], self._heap.pop()
        if self._heap:
            self._sink(last)
        return first

    def _sink(self, commit_id: str) -> None:
        """Put a commit where the first one was, and let it sink below those that are later."""
        heap, at = self._heap, 0
        while (below := 2 * at + 1) < len(heap):
            if below + 1 < len(heap) and self._later(heap[below + 1], heap[below]):
                below += 1
            if not self._later(heap[below], commit_id):
                break
            heap[at] = heap[below]
            at = below
        heap[at] = commit_id

    def _later(self, one: str, other: str) -> bool:
        return self._commits[one].time > self._commits[other].time


def _headers(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers of a commit. What a header goes on with in more lines is left out."""
    for line in raw.partition(b"\n\n")[0].split(b"\n"):
        key, _, value = line.partition(b" ")
        if key:
            yield key, value


def _signature(raw: bytes, who: bytes) -> re.Match[bytes] | None:
    line = next((value for key, value in _headers(raw) if key == who), b"")
    return SIGNATURE.match(line)


def _seconds(signature: re.Match[bytes] | None) -> int | None:
    if signature is None or signature["seconds"] is None or len(signature["seconds"]) > MOST_DIGITS:
        return None
    return int(signature["seconds"])


def _moment(seconds: int | None) -> datetime | None:
    """Return a time; none if there is none such."""
    try:
        moment = EPOCH + timedelta(seconds=seconds) if seconds is not None else None
    except OverflowError:
        return None
    return moment if moment and 1 < moment.year <= LAST_YEAR else None


def _decoded(text: bytes, encoding: bytes) -> str:
    """Decode as the commit says, if it says so and it is; else as UTF-8 with signs for the rest."""
    try:
        decoded = text.decode(encoding.decode("ascii") or "utf-8")
    except (LookupError, ValueError):
        decoded = text.decode(errors="replace")
    return decoded.encode(errors="replace").decode()
