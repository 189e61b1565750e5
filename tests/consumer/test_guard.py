"""The tracking moves only from where the consumer saw it last."""

from dataclasses import replace

import anyio
import pytest

from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, Moved
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.view import PagesUnitOfWork
from eventsourcing_kafka.producer.runtime.postgres import SINCE, Session
from tests.pipeline import WithoutKafka, pages_of, write_page


async def test_of_two_that_apply_a_batch_at_once_one_does(environment: dict[str, str]) -> None:
    async with WithoutKafka(environment) as shortcut:
        write_page(shortcut.wiki, "page", *(f"{number}\n" for number in range(50)))
        seen = await shortcut.seen()
        batch, outcomes = shortcut.batch(seen), []

        async def apply() -> None:
            async with shortcut.store.connected() as connection:
                outcomes.append(await Applier(shortcut.store).apply(connection, batch, seen))

        async with anyio.create_task_group() as both:
            both.start_soon(apply)
            both.start_soon(apply)
        assert {type(outcome) for outcome in outcomes} == {Applied, Moved}
        assert await shortcut.pages() == pages_of(shortcut.wiki)


async def test_one_partition_that_was_moved_rolls_the_whole_batch_back(
    environment: dict[str, str],
) -> None:
    async with WithoutKafka(environment) as shortcut:
        for number in range(10):
            write_page(shortcut.wiki, f"page{number}", "text")
        seen = await shortcut.seen()
        assert len(shortcut.batch(seen)) == 2
        await shortcut.sql("UPDATE {schema}.tracking SET position = 1 WHERE partition = 1")
        outcome = await Applier(shortcut.store).apply(
            shortcut.connection, shortcut.batch(seen), seen
        )
        assert isinstance(outcome, Moved)
        assert await shortcut.pages() == []
        assert (await shortcut.seen())[0] == seen[0]


@pytest.mark.parametrize("sent_ahead", [True, False])
async def test_what_another_has_applied_is_no_error_of_who_reads_it(
    environment: dict[str, str], sent_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: object) -> None:
        raise LookupError("the page is further than this event")

    async with WithoutKafka(environment, replace(VIEW, sent_ahead=sent_ahead)) as shortcut:
        write_page(shortcut.wiki, "page", "one\n")
        seen = await shortcut.seen()
        batch, applier = shortcut.batch(seen), Applier(shortcut.store)
        await applier.apply(shortcut.connection, batch, seen)
        monkeypatch.setattr(PagesUnitOfWork, "read", read)

        assert isinstance(await applier.apply(shortcut.connection, batch, seen), Moved)


@pytest.mark.parametrize(("known_since", "is_ahead"), [(170_000, True), (990_000, False)])
async def test_nothing_is_sent_ahead_where_postgres_bounds_no_transaction(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    known_since: int,
    is_ahead: bool,
) -> None:
    monkeypatch.setitem(SINCE, "transaction_timeout", known_since)
    async with (
        WithoutKafka(environment, replace(VIEW, sent_ahead=True)) as shortcut,
        shortcut.store.working({"transaction_timeout": "300s"}) as connection,
    ):
        async with shortcut.store.transaction(connection, whole_batch=True):
            assert isinstance(connection, Session)
            assert connection.is_ahead is is_ahead
        write_page(shortcut.wiki, "page", "one\n")
        await shortcut.catch_up()
        assert await shortcut.pages() == pages_of(shortcut.wiki)
