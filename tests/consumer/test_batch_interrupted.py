"""One batch into the view, ended at every point where it waits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import anyio
import psycopg
import pytest
from psycopg import AsyncConnection

from eventsourcing_kafka.consumer.engine.applying import Applier
from eventsourcing_kafka.consumer.engine.batch import Span
from eventsourcing_kafka.consumer.engine.tracking import Tracking
from eventsourcing_kafka.consumer.views.fts import VIEW
from tests.pipeline import WithoutKafka, pages_of, write_page

from .interrupting import Interrupted, cancel, cut_off, cut_off_with_the_answer_unread

ENOUGH = 30
"""Batches, of which some wait for each of their round trips."""

Interrupt = Callable[[anyio.CancelScope, AsyncConnection[Any]], None]


async def apply_interrupted(
    shortcut: WithoutKafka,
    batch: Sequence[Span],
    seen: dict[int, Tracking],
    n: int,
    interrupt: Interrupt,
) -> bool:
    """Apply a batch on a connection of its own; tell whether it was interrupted."""
    async with shortcut.store.connected() as connection:
        with anyio.CancelScope() as scope:
            applied = Applier(shortcut.store).apply(connection, batch, seen)
            interrupted = Interrupted(applied, n, lambda: interrupt(scope, connection))
            try:
                await interrupted
            except psycopg.OperationalError:
                assert interrupted.happened
    return interrupted.happened


@pytest.mark.parametrize(("sent_ahead", "round_trips"), [(True, 2), (False, 6)])
@pytest.mark.parametrize("interrupt", [cancel, cut_off, cut_off_with_the_answer_unread])
async def test_a_batch_interrupted_at_any_await_is_applied_once(
    environment: dict[str, str], interrupt: Interrupt, sent_ahead: bool, round_trips: int
) -> None:
    view = replace(VIEW, sent_ahead=sent_ahead)
    n = 1
    async with WithoutKafka(environment, view) as shortcut:
        write_page(shortcut.wiki, "every")
        for batch in count():
            write_page(shortcut.wiki, f"page{batch}", "one\n", "one\ntwo\n")
            shortcut.wiki.update_body("every", f"{batch}\n")
            seen = await shortcut.seen()
            happened = await apply_interrupted(shortcut, shortcut.batch(seen), seen, n, interrupt)
            await shortcut.catch_up()
            assert await shortcut.pages() == pages_of(shortcut.wiki), n
            assert await shortcut.records() == shortcut.offered(), n
            if happened:
                n += 1
            elif n > round_trips or batch > ENOUGH:
                break  # A trip whose answer was there at once is not waited for: another batch is.
        assert n > round_trips
