"""Trying parked events again, and dropping the first of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from eventsourcing_kafka.consumer.engine.store import ShapeChangedError, ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.operations.redrive import (
    NotFirstError,
    NotParkedError,
    StillFailingError,
    drop,
    parked_event,
    parked_originators,
    retry,
)
from tests.pipeline import SECONDS, WithoutKafka, pages_of, until

from .poison import POISONS, Poison, record_of
from .wiki import Wiki

BAD_DIFF = next(poison.tamper for poison in POISONS if poison.name == "a diff that does not fit")

WAITING = """
    SELECT FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid != pg_backend_pid()
       AND application_name = %s
"""


@asynccontextmanager
async def sick_page(schemas: dict[str, str]) -> AsyncIterator[Wiki]:
    """Have a body in the view tampered with, so that all that comes of its page is parked."""
    async with Wiki(schemas) as wiki:
        await wiki.sql("UPDATE {schema}.pages SET body = 'another'")
        wiki.go_on()
        await wiki.catch_up()
        yield wiki


async def mend(wiki: Wiki) -> None:
    await wiki.sql("UPDATE {schema}.pages SET body = E'one\\n' WHERE body = 'another'")


async def everything(wiki: WithoutKafka) -> dict[str, Any]:
    """Return all rows of the view."""
    tables = {}
    for name in ("pages", "tracking", "parked", "dropped"):
        statement = wiki.store.sql("SELECT * FROM {schema}." + name + " ORDER BY 1, 2")
        tables[name] = await (await wiki.connection.execute(statement)).fetchall()
    return tables


async def retry_all(wiki: Wiki) -> None:
    for originator_id in await parked_originators(wiki.store):
        await retry(wiki.store, originator_id)


async def test_a_retry_applies_all_that_is_parked_in_order_and_live_events_go_on_after_it(
    schemas: dict[str, str],
) -> None:
    async with sick_page(schemas) as wiki:
        assert len(await parked_originators(wiki.store)) == 3
        await mend(wiki)
        assert await retry(wiki.store, str(wiki.sick_id)) == 2
        assert (await wiki.page(wiki.sick)).body == "three\n"
        assert wiki.sick_id not in await wiki.stale()
        await retry_all(wiki)
        assert (await wiki.pages(), await wiki.parked()) == (pages_of(wiki.wiki), [])

        wiki.go_on()
        await wiki.catch_up()
        assert (await wiki.pages(), await wiki.parked()) == (pages_of(wiki.wiki), [])


async def test_a_retry_that_fails_names_the_event_and_changes_nothing(
    schemas: dict[str, str],
) -> None:
    async with sick_page(schemas) as wiki:
        await wiki.sql("UPDATE {schema}.pages SET version = version + 1")
        before = await everything(wiki)
        first, *_ = await wiki.parked()
        with pytest.raises(StillFailingError, match=rf"Parked event {first.id} .*OutOfOrder"):
            await retry(wiki.store, first.originator_id)
        assert await everything(wiki) == before


async def test_a_retry_that_the_database_refuses_in_the_middle_names_the_event(
    schemas: dict[str, str],
) -> None:
    async with sick_page(schemas) as wiki:
        await mend(wiki)
        event = wiki.next_event(title="a\0b")._replace(version=5, type="Page.TitleUpdated")
        wiki.put(*record_of(event))
        await wiki.catch_up()
        before = await everything(wiki)
        parked = [
            event for event in await wiki.parked() if event.originator_id == str(wiki.sick_id)
        ]
        with pytest.raises(StillFailingError, match=rf"event {parked[-1].id} .*DataError"):
            await retry(wiki.store, str(wiki.sick_id))
        assert await everything(wiki) == before


async def somebody_waits(wiki: Wiki) -> None:
    """Wait until a lock of somebody else is waited for."""
    async with wiki.store.connected() as watching:

        async def is_waited() -> bool:
            return (await watching.execute(WAITING, [wiki.store.view.name])).rowcount > 0

        await until(is_waited)


class Paused:
    """A store whose next transaction stands still after it has parked events, or removed them."""

    def __init__(self, store: ViewStore, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store.generation(store.schema)
        self._reached, self._go_on = anyio.Event(), anyio.Event()
        self._method = getattr(self.store.parking, method)
        monkeypatch.setattr(self.store.parking, method, self._pause)

    async def reached(self) -> None:
        with anyio.fail_after(SECONDS):
            await self._reached.wait()

    def go_on(self) -> None:
        self._go_on.set()

    async def _pause(self, *given: object) -> object:
        result = await self._method(*given)
        self._reached.set()
        await self._go_on.wait()
        return result


async def test_a_retry_waits_for_a_batch_that_is_parking_more_and_applies_that_too(
    schemas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sick_page(schemas) as wiki:
        await mend(wiki)
        wiki.go_on()
        paused = Paused(wiki.store, "park", monkeypatch)
        store, wiki.store = wiki.store, paused.store
        async with anyio.create_task_group() as working:
            working.start_soon(wiki.catch_up)
            await paused.reached()
            working.start_soon(retry, store, str(wiki.sick_id))
            await somebody_waits(wiki)
            paused.go_on()
        wiki.store = store
        await retry_all(wiki)
        assert (await wiki.pages(), await wiki.parked()) == (pages_of(wiki.wiki), [])


async def test_a_batch_waits_for_a_retry_and_goes_on_live_after_it(
    schemas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sick_page(schemas) as wiki:
        await mend(wiki)
        *others, last = await parked_originators(wiki.store)
        for other in others:
            await retry(wiki.store, other)
        wiki.go_on()
        paused = Paused(wiki.store, "remove", monkeypatch)
        async with anyio.create_task_group() as working:
            working.start_soon(retry, paused.store, last)
            await paused.reached()
            working.start_soon(wiki.catch_up)
            await somebody_waits(wiki)
            paused.go_on()
        assert (await wiki.pages(), await wiki.parked()) == (pages_of(wiki.wiki), [])


async def test_only_the_first_parked_event_is_dropped_and_it_is_recorded_who_when_and_why(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        wiki.poison(BAD_DIFF)
        await wiki.catch_up()
        wiki.wiki.update_body(wiki.sick, "two\n")
        await wiki.catch_up()
        first, second = await wiki.parked()
        with pytest.raises(NotFirstError, match=f"{second.id} is behind event {first.id}"):
            await drop(wiki.store, second.id, by="me", reason="no")

        await drop(wiki.store, first.id, by="Ada", reason="it was no diff")

        (dropped,) = await wiki.dropped()
        assert (dropped.dropped_by, dropped.reason) == ("Ada", "it was no diff")
        assert datetime.now(UTC) - dropped.dropped_at < timedelta(minutes=1)
        assert (dropped.partition, dropped.first_offset) == (first.partition, first.record_offset)
        assert (dropped.position, dropped.failure) == (first.position, first.reason)
        assert [event.id for event in await wiki.parked()] == [second.id]
        assert [row.dropped for row in await wiki.progress()] == [1, 0]


async def test_what_is_behind_a_dropped_event_follows_after_a_retry_and_then_live(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        wiki.poison(BAD_DIFF)
        wiki.put(
            *record_of(wiki.next_event(title="New")._replace(version=4, type="Page.TitleUpdated"))
        )
        await wiki.catch_up()
        first, _ = await wiki.parked()
        await drop(wiki.store, first.id, by="Ada", reason="broken")

        assert await retry(wiki.store, str(wiki.sick_id)) == 1
        wiki.put(*record_of(wiki.next_event()._replace(version=5)))
        await wiki.catch_up()

        page = await wiki.page(wiki.sick)
        assert (page.version, page.title, page.body) == (5, "New", "strange\n")
        assert await wiki.parked() == []


async def test_a_dropped_event_that_was_not_the_page_s_own_does_not_keep_out_that_one(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        for _ in range(2):
            wiki.poison(BAD_DIFF)
            await wiki.catch_up()
            (foreign,) = await wiki.parked()
            await drop(wiki.store, foreign.id, by="Ada", reason="not ours")
        wiki.go_on()
        await wiki.catch_up()
        assert (await wiki.pages(), await wiki.parked()) == (pages_of(wiki.wiki), [])


async def drop_all_of_the_sick_page(wiki: Wiki) -> None:
    for event in await wiki.parked():
        if event.originator_id == str(wiki.sick_id):
            await drop(wiki.store, event.id, by="Ada", reason="spam")


async def test_what_was_dropped_stays_so_over_a_replay_though_it_could_be_applied(
    schemas: dict[str, str],
) -> None:
    async with sick_page(schemas) as wiki:
        await drop_all_of_the_sick_page(wiki)
        event = wiki.next_event(slug="new")._replace(version=5, type="Page.SlugUpdated")
        wiki.put(*record_of(event))

        await wiki.store.replay(wiki.connection)
        await wiki.catch_up()

        page = await wiki.page("new")
        assert (page.version, page.body) == (5, "one\n")
        assert await wiki.healthy_pages() == wiki.expected_healthy_pages()
        assert (await wiki.parked(), len(await wiki.dropped())) == ([], 2)


async def test_what_was_dropped_stays_so_when_it_comes_behind_what_is_parked_anew(
    schemas: dict[str, str],
) -> None:
    async with sick_page(schemas) as wiki:
        await drop_all_of_the_sick_page(wiki)
        await wiki.store.replay(wiki.connection)
        records = wiki.batch(await wiki.seen())[0].records
        first = next(record for record in records if record.originator_id == str(wiki.sick_id))
        await wiki.store.parking.park(wiki.connection, first, ValueError("for now"))
        await wiki.catch_up()

        assert await retry(wiki.store, str(wiki.sick_id)) == 4
        page = await wiki.page(wiki.sick)
        assert (page.version, page.body) == (2, "one\n")


async def test_a_person_who_names_what_is_not_there_is_told_what_is(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        with pytest.raises(NotParkedError, match="There are: none"):
            await parked_event(wiki.store, 1)
        wiki.poison(BAD_DIFF)
        await wiki.catch_up()
        (event,) = await wiki.parked()
        with pytest.raises(NotParkedError, match=f"no parked event 99. There are: {event.id}"):
            await drop(wiki.store, 99, by="me", reason="no")
        with pytest.raises(NotParkedError, match=f"Parked are: {wiki.sick_id}"):
            await retry(wiki.store, "somebody")


async def test_nobody_mends_a_view_that_is_not_there_or_of_another_shape(
    schemas: dict[str, str],
) -> None:
    with pytest.raises(ViewMissingError, match="consumer run fts"):
        await retry(WithoutKafka(schemas).store, "somebody")
    async with sick_page(schemas) as wiki:
        (event, *_) = await wiki.parked()
        german = WithoutKafka(schemas | {"FTS_LANGUAGE": "german"}).store
        for mending in (
            retry(german, str(wiki.sick_id)),
            drop(german, event.id, by="me", reason="no"),
        ):
            with pytest.raises(ShapeChangedError, match="consumer rebuild fts"):
                await mending
        assert len(await wiki.parked()) == 6


@pytest.mark.parametrize("poison", [each for each in POISONS if not each.of_page][:3])
async def test_what_is_foreign_holds_up_no_aggregate_and_is_dropped_alone(
    schemas: dict[str, str], poison: Poison
) -> None:
    """Though its key is the aggregate's; also in a replay, which meets it before others."""
    async with Wiki(schemas) as wiki:
        wiki.poison(poison.tamper)
        wiki.go_on()
        await wiki.catch_up()
        (foreign,) = await wiki.parked()
        assert foreign.position is None
        assert await wiki.pages() == pages_of(wiki.wiki)

        await drop(wiki.store, foreign.id, by="Ada", reason="no event")
        await wiki.store.replay(wiki.connection)
        await wiki.catch_up()

        assert await wiki.parked() == []
        assert await wiki.pages() == pages_of(wiki.wiki)
