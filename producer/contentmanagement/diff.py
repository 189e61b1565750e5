r"""Diffs in the normal format of GNU ``diff``, made and applied in process.

A diff is a series of commands, each with the lines it removes and adds::

    2c2,3
    < the old second line
    ---
    > the new second line
    > and one more

A last line without a newline is followed by ``\ No newline at end of file``.
What ``diff`` writes is applied here, and what is written here ``patch`` applies.

Lines end at ``\n`` only, as they do for both programs: carriage returns, form feeds and
Unicode's line separators are characters like any other. All work is done on UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

# It is imported where a diff is made: relays and consumers make none, and start without it.
if TYPE_CHECKING:
    import pygit2

NO_NEWLINE = b"\\ No newline at end of file\n"
COMMAND = re.compile(
    rb"(?P<old>[0-9]{1,12})(?:,(?P<old_end>[0-9]{1,12}))?"
    rb"(?P<verb>[acd])"
    rb"(?P<new>[0-9]{1,12})(?:,(?P<new_end>[0-9]{1,12}))?\n"
)


class DiffError(ValueError):
    """A diff is malformed, or does not fit the text it is applied to."""


def create_diff(old: str, new: str) -> str:
    """Return what ``diff`` would print for the two texts; nothing when they are equal.

    Raises `UnicodeEncodeError` for a text with lone surrogates.
    """
    import pygit2

    # The patch points into these two buffers: they have to outlive it.
    old_text, new_text = old.encode(), new.encode()
    if old_text == new_text:
        return ""
    # Forced, or libgit2 takes a text with a NUL character for binary and shows no hunks.
    forced = pygit2.enums.DiffOption.FORCE_TEXT
    patch = pygit2.Patch.create_from(old_text, new_text, flag=forced, context_lines=0)
    old_lines, new_lines = _lines(old_text), _lines(new_text)
    return b"".join(
        part for hunk in patch.hunks for part in _written(hunk, old_lines, new_lines)
    ).decode()


def apply_diff(old: str, diff: str) -> str:
    """Return the text that `diff` makes of `old`.

    Raises `DiffError`, naming the line of the diff, unless every command is well formed,
    in order, and removes exactly the lines that are there.
    """
    old_lines = _lines(old.encode())
    new_lines: list[bytes] = []
    applied = 0  # lines of the old text, copied or removed so far
    for change in _changes(_lines(diff.encode())):
        if not applied <= change.start <= len(old_lines):
            raise DiffError(f"diff line {change.where}: old lines out of order or out of range")
        _add(new_lines, old_lines[applied : change.start])
        applied = change.start + len(change.removed)
        if old_lines[change.start : applied] != change.removed:
            raise DiffError(f"diff line {change.where}: the lines to remove are not in the text")
        if change.new_start != len(new_lines):
            raise DiffError(f"diff line {change.where}: new lines are not where it says")
        _add(new_lines, change.added)
    _add(new_lines, old_lines[applied:])
    return b"".join(new_lines).decode()


def _add(lines: list[bytes], more: list[bytes]) -> None:
    """Add lines, of which only the last may be without a newline, to such lines."""
    if more and lines and not lines[-1].endswith(b"\n"):
        raise DiffError("a line without a newline would not be the last one")
    lines += more


@dataclass(frozen=True, slots=True)
class _Change:
    """One command of a diff; starts count the lines before it."""

    where: int
    start: int
    removed: list[bytes]
    new_start: int
    added: list[bytes]


def _lines(text: bytes) -> list[bytes]:
    # Unlike splitlines(), which would also split at a lone carriage return.
    return BytesIO(text).readlines()


def _written(
    hunk: pygit2.DiffHunk, old_lines: list[bytes], new_lines: list[bytes]
) -> Iterator[bytes]:
    """Write one hunk as a command and its lines."""
    # An empty range names the line before it, in libgit2's hunks as in normal diffs.
    old_start = hunk.old_start - bool(hunk.old_lines)
    new_start = hunk.new_start - bool(hunk.new_lines)
    verb = "a" if not hunk.old_lines else "d" if not hunk.new_lines else "c"
    old_range = _range(hunk.old_start, hunk.old_lines)
    new_range = _range(hunk.new_start, hunk.new_lines)
    yield f"{old_range}{verb}{new_range}\n".encode()
    yield from _marked(b"< ", old_lines[old_start : old_start + hunk.old_lines])
    if verb == "c":
        yield b"---\n"
    yield from _marked(b"> ", new_lines[new_start : new_start + hunk.new_lines])


def _range(start: int, count: int) -> str:
    return f"{start},{start + count - 1}" if count > 1 else f"{start}"


def _marked(mark: bytes, lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line
    if lines and not lines[-1].endswith(b"\n"):
        yield b"\n" + NO_NEWLINE


def _changes(diff: list[bytes]) -> Iterator[_Change]:
    """Parse the lines of a diff."""
    at = 0
    if diff and not diff[-1].endswith(b"\n"):
        raise DiffError(f"diff line {len(diff)}: cut short")
    while at < len(diff):
        command = COMMAND.fullmatch(diff[at])
        if command is None:
            raise DiffError(f"diff line {at + 1}: not a command: {diff[at][:40]!r}")
        where, verb = at + 1, command["verb"]
        old_count = _count(command, "old", verb != b"a", where)
        new_count = _count(command, "new", verb != b"d", where)
        removed, at = _unmarked(b"< ", diff, at + 1, old_count)
        if verb == b"c":
            if diff[at : at + 1] != [b"---\n"]:
                raise DiffError(f"diff line {at + 1}: '---' is missing")
            at += 1
        added, at = _unmarked(b"> ", diff, at, new_count)
        yield _Change(
            where,
            int(command["old"]) - bool(old_count),
            removed,
            int(command["new"]) - bool(new_count),
            added,
        )


def _count(command: re.Match[bytes], side: str, filled: bool, where: int) -> int:
    """Count the lines that a command names on one side."""
    start, end = int(command[side]), command[f"{side}_end"]
    if not filled:
        if end is not None:
            raise DiffError(f"diff line {where}: a range where one line belongs")
        return 0
    count = int(end) - start + 1 if end is not None else 1
    if start < 1 or count < 1:
        raise DiffError(f"diff line {where}: not a range of lines")
    return count


def _unmarked(mark: bytes, diff: list[bytes], at: int, count: int) -> tuple[list[bytes], int]:
    """Take `count` marked lines from the diff, and return them with where they end."""
    marked = diff[at : at + count]
    for number, line in enumerate(marked, start=at + 1):
        if not line.startswith(mark):
            raise DiffError(f"diff line {number}: not marked {mark.decode()!r}")
    if len(marked) < count:
        raise DiffError(f"diff line {len(diff) + 1}: the diff ends too early")
    at += count
    lines = [line[len(mark) :] for line in marked]
    # `diff` writes the notice in the user's language: only its start is fixed.
    if lines and at < len(diff) and diff[at].startswith(b"\\ "):
        lines[-1] = lines[-1].removesuffix(b"\n")
        at += 1
    return lines, at
