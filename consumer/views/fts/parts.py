r"""What names consist of: paths, versions, addresses, identifiers, and words that no space parts.

A search by words finds a name by all of it, or not at all: `src/compose/stack.py` is one word, and
so is a sentence in Japanese. So of what consists of parts, those are indexed too, and each with
the next one, as one word: a pair. A part of a name that is searched for, `stack.py`, becomes
the same pairs. They need no positions, of which Postgres keeps few in a long text.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from eventsourcing_kafka.consumer.views.fts.policy import PageInfo

JOINER = "\N{MODIFIER LETTER TRIANGULAR COLON}"
"""Between the two parts of a pair: a letter to Postgres, which nobody types."""

SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7a3"  # Hangul has spaces, but endings, too.
)

APOSTROPHES = "'\u2019"
AROUND = string.punctuation + "\u2018\u2019\u201c\u201d\u2026"
"""What may stand before and after a name, and is not of it."""

ONE_SPACELESS = re.compile(f"[{SPACELESS}]")
WHOLE = re.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+")
PART = re.compile(rf"[{SPACELESS}]|[0-9]+|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z{SPACELESS}]+|[^\W_]")
"""A part of `GitImporter`, `HTTPServer`, `v1`: as capitals and digits tell."""
SMALL_PART = re.compile(rf"[{SPACELESS}]|[0-9]+|[^\W\d_{SPACELESS}]+|[^\W_]")
"""The same of what may have been typed in small letters: as digits tell."""

HYPHENATED = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
"""A word of words: as a phrase Postgres finds it in other forms as well."""

TERM = re.compile(r'(?P<without>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')


def parts_of(text: str) -> str:
    """Return the words to be indexed beside those of a text: parts of names, and pairs of them.

    >>> parts_of("see stack.py").replace(JOINER, "~")
    'stack py stack~py'
    """
    return " ".join(
        chain.from_iterable(
            _indexed(name)
            for chunk in dict.fromkeys(text.split())
            if not _is_word(chunk)
            for name in re.split(f"[{APOSTROPHES}]", chunk)
        )
    )


def heading_of(page: PageInfo) -> str:
    """Return what a page is named by: its title, its slug in words, and the parts of both."""
    words = " ".join(WHOLE.findall(page.slug))
    return " ".join(filter(None, [page.title, words, parts_of(f"{page.title} {page.slug}")]))


class Query(NamedTuple):
    """A query, in the words that are indexed."""

    text: str
    names: Sequence[str]
    """What of it is searched for by its parts, as it was typed."""


def read_query(query: str) -> Query:
    """Return a query in which names are pairs of their parts.

    >>> read_query("zebra -1.2.3 OR stack.py").text.replace(JOINER, "~")
    'zebra -"1~2 2~3" OR stack~py'
    """
    names: list[str] = []

    def read(term: re.Match[str]) -> str:
        text = term["word"] if term["phrase"] is None else term["phrase"]
        name = text.strip().strip(AROUND)
        if "-" in name and HYPHENATED.fullmatch(name):
            return f'{term["without"]}"{name.replace("-", " ")}"'
        if len(name.split()) != 1 or not _is_name(name):
            return term[0]
        names.append(name)
        pairs = " ".join(_pairs(PART.findall(name)))
        return f'-"{pairs}"' if term["without"] else pairs

    return Query(TERM.sub(read, query), names)


def _is_name(name: str) -> bool:
    """Tell whether a term is searched for by its parts."""
    if any(apostrophe in name for apostrophe in APOSTROPHES) or len(PART.findall(name)) < 2:  # noqa: PLR2004 - a pair
        return False
    if ONE_SPACELESS.search(name):
        return True
    return len(WHOLE.findall(name)) > 1


def _is_word(chunk: str) -> bool:
    """Tell quickly of most words that they have no parts."""
    word = chunk.strip(AROUND)
    usual = word.islower() or word.istitle() or word.isupper()
    return word.isalpha() and word.isascii() and usual


def _indexed(name: str) -> Iterator[str]:
    parts = PART.findall(name)
    if len(parts) > 1:
        yield from parts
        yield from _pairs(parts)
        wholes, small = WHOLE.findall(name), SMALL_PART.findall(name)
        if wholes != parts:
            yield from wholes
        if small != parts:
            yield from _pairs(small)


def _pairs(parts: Sequence[str]) -> Iterator[str]:
    for one, next_one in pairwise(parts):
        yield f"{one}{JOINER}{next_one}".lower()
