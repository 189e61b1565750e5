"""A wiki's history, the same for the same seed: many pages, a few of them edited most."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import sql

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug, user_id_cvar

SEED = 20
HOT_PAGES = 10
PART_TO_HOT_PAGES = 0.7
PART_NEW = 0.12
"""Of all edits, so many are the first of a page."""
SMALLEST, LARGEST = 500, 50_000
"""Characters of a body. Small ones are more frequent, as the logarithm is even."""

WORDS = 20_000
WORDS_IN_LINE = 12
COMMON = ("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with")
SYLLABLES = ("ka", "lo", "mi", "ter", "ven", "sol", "pra", "dun", "fi", "gest", "or", "al", "ne")

COPY_EVENTS: LiteralString = """
    COPY contentmanagement_events (originator_id, originator_version, topic, state) FROM STDIN
"""

# What is stored of an event names neither its aggregate nor its version: so the same history
# of other aggregates is a matter of other IDs.
REPEAT_EVENTS: LiteralString = """
    INSERT INTO contentmanagement_events (originator_id, originator_version, topic, state)
    SELECT md5(originator_id::text || %(number)s)::uuid, originator_version, topic, state
      FROM contentmanagement_events
     WHERE notification_id <= %(events)s
     ORDER BY notification_id
"""


class Edit(NamedTuple):
    """A page gets a body. The first edit of a page makes it."""

    slug: str
    body: str
    user: UUID


class Author:
    """Writes pages, and changes a few of their lines again and again."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = random.Random(seed)
        self._words = [*COMMON, *(self._word() for _ in range(WORDS))]
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(len(self._words))))
        self._users = [UUID(int=self._random.getrandbits(128)) for _ in range(50)]

    def edits(self, smallest: int = SMALLEST, largest: int = LARGEST) -> Iterator[Edit]:
        """Edit for ever."""
        pages: list[list[str]] = []
        while True:
            new = len(pages) < HOT_PAGES or self._random.random() < PART_NEW
            if new:
                pages.append(self.lines(self._size(smallest, largest)))
            number = len(pages) - 1 if new else self._choose(len(pages))
            if not new:
                self.change(pages[number])
            user = self._random.choice(self._users)
            yield Edit(f"page-{number}", "\n".join(pages[number]) + "\n", user)

    def lines(self, characters: int) -> list[str]:
        """Write lines that have so many characters, or a few more."""
        words = self._choices(characters // 4)
        lines, written = [], 0
        for at in range(0, len(words), WORDS_IN_LINE):
            lines.append(" ".join(words[at : at + WORDS_IN_LINE]))
            written += len(lines[-1]) + 1
            if written >= characters:
                break
        return lines

    def change(self, lines: list[str]) -> None:
        """Replace, insert or remove up to three lines, somewhere."""
        at = self._random.randrange(len(lines))
        removed, added = self._random.choice([(1, 1), (2, 2), (0, 1), (1, 0), (3, 3)])
        new = [" ".join(self._choices(WORDS_IN_LINE)) for _ in range(added)]
        lines[at : at + removed] = new
        if not lines:
            lines += self.lines(SMALLEST)

    def ordinary_words(self, count: int) -> list[str]:
        """Return words that are neither the most frequent nor the rarest."""
        return self._random.sample(self._words[len(COMMON) : WORDS // 4], count)

    def common_words(self, count: int) -> list[str]:
        """Return the words that are the most frequent of those that a search takes for words."""
        return self._words[len(COMMON) : len(COMMON) + count]

    def _choose(self, pages: int) -> int:
        hot = self._random.random() < PART_TO_HOT_PAGES
        return self._random.randrange(HOT_PAGES if hot else pages)

    def _size(self, smallest: int, largest: int) -> int:
        return int(smallest * (largest / smallest) ** self._random.random())

    def _choices(self, count: int) -> list[str]:
        return self._random.choices(self._words, cum_weights=self._weights, k=count)

    def _word(self) -> str:
        return "".join(self._random.choices(SYLLABLES, k=self._random.randint(1, 4)))


def synthetic(events: int, smallest: int = SMALLEST, largest: int = LARGEST) -> list[StoredEvent]:
    """Return the events that so many edits make, as the wiki stores them."""
    return list(islice(stored(Author().edits(smallest, largest)), events))


def stored(edits: Iterable[Edit]) -> Iterator[StoredEvent]:
    """Do with pages what the wiki's commands do, and yield what is to be stored."""
    with ContentManagement() as wiki:
        pages: dict[str, Page] = {}
        for edit in edits:
            yield from map(wiki.mapper.to_stored_event, _done(edit, pages, wiki))


def _done(edit: Edit, pages: dict[str, Page], wiki: ContentManagement) -> list[Any]:
    token = user_id_cvar.set(edit.user)
    events: list[Any] = []
    if edit.slug not in pages:
        page = pages[edit.slug] = Page(title=edit.slug.title(), slug=edit.slug, body="")
        events.append(wiki.page_log.trigger_event(len(pages), page_id=page.id))
        events += Slug(edit.slug, page_id=page.id).collect_events()
    pages[edit.slug].update_body(edit.body)
    events += pages[edit.slug].collect_events()
    user_id_cvar.reset(token)
    return events


def fill(dsn: str, base: list[StoredEvent], events: int) -> None:
    """Store so many events in a wiki that has none: the history again and again, of other pages."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.cursor() as cursor, cursor.copy(COPY_EVENTS) as copy:
            for event in base[:events]:
                copy.write_row(row_of(event))
        for number, done in enumerate(range(len(base), events, len(base))):
            part = min(len(base), events - done)
            connection.execute(REPEAT_EVENTS, {"number": str(number), "events": part})
        connection.execute("VACUUM ANALYZE contentmanagement_events")


def row_of(event: StoredEvent) -> Sequence[Any]:
    """Return what `COPY_EVENTS` takes of an event."""
    return event.originator_id, event.originator_version, event.topic, event.state


def count(dsn: str) -> int:
    """Return how many events a wiki has stored."""
    with psycopg.connect(dsn) as connection:
        table = sql.Identifier("contentmanagement_events")
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        return int(row[0]) if row else 0
