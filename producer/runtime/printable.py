"""Text that anybody may have written, made harmless for a terminal or a line of a log."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text with a sign for each character that could steer a terminal, or break a line.

    >>> printable("red\x1b[31m")
    'red�[31m'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
