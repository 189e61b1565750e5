"""Records that can't be applied, of every kind, into the view with no Kafka between."""

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from eventsourcing_kafka.consumer.engine.applying import Applied, OnError
from eventsourcing_kafka.consumer.engine.parking import BEHIND
from eventsourcing_kafka.consumer.views.fts.view import PagesUnitOfWork
from eventsourcing_kafka.producer.runtime.retry import is_transient
from tests.pipeline import pages_of

from .poison import POISONS, Poison
from .wiki import Wiki

TRANSIENT = [
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DiskFull,
    psycopg.errors.OutOfMemory,
    psycopg.errors.AdminShutdown,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.OperationalError,
    ConnectionResetError,
]

each_poison = pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.name)


@each_poison
async def test_poison_is_parked_with_its_aggregate_behind_it_and_all_others_go_on(
    schemas: dict[str, str], poison: Poison
) -> None:
    async with Wiki(schemas) as wiki:
        raw = wiki.poison(poison.tamper)
        wiki.go_on()

        outcome = await wiki.catch_up()

        assert isinstance(outcome, Applied)
        first, *behind = await wiki.parked()
        assert re.search(poison.reason, first.reason), first.reason
        assert "Traceback" in first.traceback
        assert (first.key, first.value) == (raw.key, raw.value)
        assert list(first.record().headers) == list(raw.headers)
        versions = [3, 4] if poison.of_page else []
        assert [(event.originator_version, event.reason) for event in behind] == [
            (version, BEHIND) for version in versions
        ]
        assert await wiki.healthy_pages() == wiki.expected_healthy_pages()
        expected = "one\n" if poison.of_page else "three\n"
        assert (await wiki.page(wiki.sick)).body == expected
        assert await wiki.stale() == ({wiki.sick_id} if poison.of_page else set())
        assert await wiki.records() == wiki.offered()


@each_poison
async def test_a_partition_stops_before_poison_and_goes_on_from_there_when_told_to_park(
    schemas: dict[str, str], poison: Poison
) -> None:
    async with Wiki(schemas) as wiki:
        before = wiki.offered()
        raw = wiki.poison(poison.tamper)
        partition = wiki.put(*raw)
        wiki.go_on()

        outcome = await wiki.catch_up(OnError.STOP)

        assert isinstance(outcome, Applied)
        assert re.search(poison.reason, outcome.stopped[partition])
        rows = {row.tracking.partition: row for row in await wiki.progress()}
        assert {n: row.stopped for n, row in rows.items()} == {
            n: outcome.stopped.get(n) for n in rows
        }
        offered = wiki.offered()
        other = 1 - partition
        assert rows[other].tracking.offset == offered[other]
        assert rows[partition].tracking.offset < offered[partition]
        assert rows[partition].tracking.offset >= before[partition]
        assert await wiki.parked() == []

        await wiki.catch_up()

        assert await wiki.records() == offered
        assert await wiki.healthy_pages() == wiki.expected_healthy_pages()
        assert [row.stopped for row in await wiki.progress()] == [None, None]


async def test_parking_and_the_tracking_past_it_are_one_transaction(
    schemas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Wiki(schemas) as wiki:
        seen = await wiki.seen()
        wiki.poison(POISONS[0].tamper)
        park = wiki.store.parking.park

        async def park_and_fail(*given: Any) -> None:
            await park(*given)
            raise psycopg.OperationalError

        with monkeypatch.context() as broken:
            broken.setattr(wiki.store.parking, "park", park_and_fail)
            with pytest.raises(psycopg.OperationalError):
                await wiki.catch_up()
        assert (await wiki.parked(), await wiki.seen()) == ([], seen)

        await wiki.catch_up()
        assert len(await wiki.parked()) == 1


async def test_of_a_large_batch_the_database_refuses_only_the_culprit_is_parked(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        for number in range(150):
            wiki.wiki.update_body(wiki.neighbour, f"{number}\n")
        wiki.put(*POISON_OF_POSTGRES.tamper(wiki.next_event()))
        for number in range(150):
            wiki.wiki.update_body(wiki.neighbour, f"{number} again\n")

        outcome = await wiki.catch_up()

        assert isinstance(outcome, Applied)
        assert (outcome.events, outcome.parked) == (301, 1)
        assert [event.originator_id for event in await wiki.parked()] == [str(wiki.sick_id)]
        assert await wiki.healthy_pages() == wiki.expected_healthy_pages()


async def test_what_is_behind_a_parked_event_is_parked_in_later_batches_too(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        wiki.poison(POISONS[0].tamper)
        await wiki.catch_up()
        for _ in range(2):
            wiki.go_on()
            await wiki.catch_up()
        parked = await wiki.parked()
        assert [event.originator_version for event in parked] == [3, 3, 4, 5, 6]
        offsets = [event.record_offset for event in parked]
        assert offsets == sorted(offsets)
        assert await wiki.healthy_pages() == wiki.expected_healthy_pages()


@pytest.mark.parametrize("error", TRANSIENT)
async def test_what_passes_by_itself_is_raised_and_never_parked(
    schemas: dict[str, str], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_transient(error())
    async with Wiki(schemas) as wiki:
        seen = await wiki.seen()
        wiki.go_on()
        with monkeypatch.context() as broken:
            broken.setattr(PagesUnitOfWork, "write", _raise(error()))
            with pytest.raises(error):
                await wiki.catch_up()
        assert (await wiki.parked(), await wiki.seen()) == ([], seen)
        await wiki.catch_up()
        assert await wiki.pages() == pages_of(wiki.wiki)


@pytest.mark.parametrize(
    ("error", "break_it"),
    [
        (psycopg.errors.UndefinedTable, ["DROP TABLE {schema}.pages"]),
        (
            psycopg.errors.InsufficientPrivilege,
            [
                "GRANT USAGE ON SCHEMA {schema} TO pg_monitor",
                "GRANT ALL ON {schema}.tracking, {schema}.parked, {schema}.dropped TO pg_monitor",
                "SET ROLE pg_monitor",
            ],
        ),
    ],
)
async def test_what_only_a_person_can_mend_is_raised_and_not_the_event_s_fault(
    schemas: dict[str, str], error: type[Exception], break_it: list[Any]
) -> None:
    assert not is_transient(error())
    async with Wiki(schemas) as wiki:
        seen = await wiki.seen()
        wiki.go_on()
        for statement in break_it:
            await wiki.sql(statement)
        with pytest.raises(error):
            await wiki.catch_up()
        assert (await wiki.parked(), await wiki.seen()) == ([], seen)


POISON_OF_POSTGRES = next(poison for poison in POISONS if poison.reason == "DataError")


def _raise(error: Exception) -> Callable[..., Any]:
    async def raise_it(*_: Any) -> None:
        raise error

    return raise_it
