"""Ends of lines: what edits a text may know one kind only, and what was not edited is to stay."""

from __future__ import annotations

import re
from collections import Counter

LINE_END = re.compile(r"(\r\n|\r|\n)")


def with_line_ends_of(old: str, edited: str) -> str:
    r"""Return an edited text, whose lines end with ``\n``, with the ends of lines that it had.

    `old` is the text before. A line that was changed or added ends as the line that was in its
    place, or as the one before it.

    >>> with_line_ends_of("one\r\ntwo\nthree\r\n", "one\n2\n2.5\nthree\n")
    'one\r\n2\n2.5\nthree\r\n'
    """
    texts, ends = LINE_END.split(old)[::2], LINE_END.split(old)[1::2]
    kinds = Counter(ends).most_common()
    if not kinds or kinds == [("\n", len(ends))]:
        return edited
    usual = kinds[0][0]
    if len(kinds) == 1:
        return edited.replace("\n", usual)
    lines = edited.split("\n")
    places = _places(texts, lines)
    whole: list[str] = []
    end = usual
    for line, place in zip(lines[:-1], places[:-1], strict=True):
        end = ends[place] if place is not None and place < len(ends) else end
        if not line and end == "\n" and whole[-1:] == ["\r"]:
            end = "\r\n"  # Or the two ends would be one.
        whole += [line, end]
    return "".join([*whole, lines[-1]])


def _places(old: list[str], new: list[str]) -> list[int | None]:
    """Return for each new line which old one it is, or is in the place of; None if it was added."""
    # It takes a while to import, and is needed for a few texts only.
    import pygit2

    # The patch points into these two buffers: they have to outlive it.
    old_text, new_text = ("\n".join([*lines, ""]).encode() for lines in (old, new))
    forced = pygit2.enums.DiffOption.FORCE_TEXT
    patch = pygit2.Patch.create_from(old_text, new_text, flag=forced, context_lines=0)
    places: list[int | None] = []
    at = 0
    for hunk in patch.hunks:
        # An empty range names the line before it.
        begin = hunk.old_start - bool(hunk.old_lines)
        places += range(at, begin)
        at = begin + hunk.old_lines
        places += [n if n < at else None for n in range(begin, begin + hunk.new_lines)]
    return [*places, *range(at, len(old))]
