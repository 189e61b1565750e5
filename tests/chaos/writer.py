"""A writer: `python -m tests.chaos.writer SEED`, until it is killed.

It edits the same pages as all other writers. Conflicts and lost connections are no concern of
its: what counts is what the write model has in the end. What it commits is logged.
"""

import os
import sys
import time
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError, PersistenceError

from eventsourcing_kafka.producer.contentmanagement.application import (
    ContentManagement,
    PageNotFoundError,
    SlugConflictError,
)
from eventsourcing_kafka.producer.contentmanagement.domainmodel import user_id_cvar
from eventsourcing_kafka.producer.runtime.applications import open_application
from tests.chaos.observed import journal_of
from tests.history.entries import Journal, Outcome, Record, WriteBegun, WriteEnded
from tests.history.reading import mark_of

SLUGS = 200
USERS = [None, *(UUID(int=number) for number in range(1, 6))]
PAUSE_SECONDS = 0.2
"""After a lost connection. Without one, nobody else would get at the processor."""


def write(wiki: ContentManagement, chance: Random) -> None:
    """Give one command."""
    user_id_cvar.set(chance.choice(USERS))
    slug, other = (f"page-{chance.randrange(SLUGS)}" for _ in range(2))
    match chance.randrange(10):
        case 0:
            wiki.update_title(slug, f"Title {chance.random()}")
        case 1:
            wiki.update_slug(slug, other)
        case 2:
            wiki.update_body(slug, _text(chance, lines=500))
        case _:
            wiki.update_body(slug, _text(chance, lines=10))


def _text(chance: Random, lines: int) -> str:
    return "".join(f"line {chance.randrange(3)}\n" for _ in range(chance.randrange(lines)))


def write_for_ever(chance: Random) -> None:
    """Give one command after the other."""
    wiki = _opened()
    observe(wiki, journal_of(os.environ))
    while True:
        try:
            write(wiki, chance)
        except PageNotFoundError as error:
            _create(wiki, str(error.args[0]))
        except (SlugConflictError, IntegrityError):
            continue
        except PersistenceError:
            time.sleep(PAUSE_SECONDS)


def _opened() -> ContentManagement:
    """Open the wiki, once its database lets anybody in for long enough."""
    while True:
        try:
            return open_application(ContentManagement, os.environ)
        except PersistenceError:
            time.sleep(PAUSE_SECONDS)


def observe(wiki: ContentManagement, journal: Journal) -> None:
    """Log what the wiki commits.

    An error tells nothing: the library tries again after a lost connection, and what it had
    committed is then a conflict.
    """
    put, calls = wiki.events.put, count(1)

    def observed(events: Sequence[Any], **how: Any) -> list[Any]:
        call = next(calls)
        records = [
            Record(0, str(event.originator_id), event.originator_version, mark_of(event.timestamp))
            for event in events
        ]
        journal.write(WriteBegun(call=call, events=records))
        outcome, positions = Outcome.UNKNOWN, []
        try:
            recordings = put(events, **how)
            outcome = Outcome.OK
            positions = [recording.notification.id for recording in recordings]
        finally:
            journal.write(WriteEnded(call=call, outcome=outcome, positions=positions))
        return recordings

    wiki.events.put = observed  # type: ignore[method-assign,assignment]


def _create(wiki: ContentManagement, slug: str) -> None:
    try:
        wiki.create_page(slug.title(), slug)
    except (SlugConflictError, PersistenceError):
        return


if __name__ == "__main__":
    write_for_ever(Random(sys.argv[1]))
