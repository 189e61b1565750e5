"""What the outboxes of tagged decisions promise: what those of aggregates do."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from anyio import to_thread
from eventsourcing.application import Application
from eventsourcing.dcb.api import DCBEvent
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.dcb.postgres_tt import PostgresDCBRecorderTT
from eventsourcing.popo import POPOApplicationRecorder
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.producer.outbox import UnknownRecorderError, outbox_of
from eventsourcing_kafka.producer.outbox.postgres import POLL_SECONDS, UnfitOutboxError
from eventsourcing_kafka.producer.outbox.tagged import TaggedPostgresOutbox
from eventsourcing_kafka.producer.runtime.applications import reach
from eventsourcing_kafka.producer.runtime.postgres import (
    PostgresUnreachableError,
    connect_arguments,
)
from eventsourcing_kafka.producer.wire.tags import TaggedNotification
from examples.courses.application import Courses
from tests.layers import SERVERS, on
from tests.outbox.readers import WatchedOutbox, next_batch, next_positions, read, reading

EVENT = DCBEvent("some:Thing.Happened", b"\x80", ["a", "b"])


class WatchedTagged(TaggedPostgresOutbox, WatchedOutbox):
    """Tells when it was held up."""


@pytest.fixture(params=["popo", on("postgres", needs=SERVERS)])
def app(request: pytest.FixtureRequest) -> Iterator[Courses]:
    settings = {}
    if request.param == "postgres":
        settings = request.getfixturevalue("courses_settings")
    with Courses(settings) as app:
        yield app


@pytest.fixture
def courses(courses_settings: dict[str, str]) -> Iterator[Courses]:
    with Courses(courses_settings) as app:
        yield app


def recorder_of(app: Courses) -> PostgresDCBRecorderTT:
    assert isinstance(app.recorder, PostgresDCBRecorderTT)
    return app.recorder


def append(app: DCBApplication, count: int = 1) -> int:
    return app.recorder.append([EVENT] * count)


async def append_in_a_thread(app: DCBApplication) -> None:
    await to_thread.run_sync(append, app)


async def test_an_empty_store_has_no_head(app: Courses) -> None:
    assert await outbox_of(app).head() == 0


async def test_what_is_read_is_what_is_stored(app: Courses) -> None:
    course, student = app.offer("Poetry", 2), app.enrol("Ada")
    app.join(course, student)

    async with reading(outbox_of(app)) as batches:
        found = await next_batch(batches)

    stored = list(app.recorder.read())
    assert [TaggedNotification.of(each.position, each.event) for each in stored] == list(found)
    assert [each.event for each in found if isinstance(each, TaggedNotification)] == [
        each.event for each in stored
    ]
    assert await outbox_of(app).head() == stored[-1].position


async def test_batches_are_limited_and_an_empty_one_says_that_there_is_no_more(
    app: Courses,
) -> None:
    append(app, 7)

    async with reading(outbox_of(app, limit=5)) as batches:
        sizes = [len(await anext(batches)) for _ in range(3)]

    assert sizes == [5, 2, 0]


async def test_single_ones_are_found_by_their_positions(app: Courses) -> None:
    append(app, 4)
    outbox = outbox_of(app)

    first = await outbox.first(2)
    assert first
    assert first.id == 3
    assert await outbox.first(4) is None
    assert set(await outbox.stored([2, 4, 9])) == {2, 4}


async def test_a_reader_that_has_caught_up_is_woken(app: Courses) -> None:
    async with reading(outbox_of(app)) as batches:
        append(app)
        await next_batch(batches)
        for _ in range(3):
            async with anyio.create_task_group() as group:
                group.start_soon(append_in_a_thread, app)
                with anyio.fail_after(POLL_SECONDS * 0.8):
                    assert len(await next_batch(batches)) == 1


async def insert(connection: AsyncConnection[Any], app: Courses) -> int:
    recorder = recorder_of(app)
    statement = sql.SQL(
        "INSERT INTO {} (type, data, tags) VALUES ('some:Thing', '', '{{a}}') RETURNING id"
    ).format(sql.Identifier(recorder.datastore.schema, recorder.events_table_name))
    row = await (await connection.execute(statement)).fetchone()
    assert row
    return int(row[0])


async def test_a_hole_that_may_be_filled_is_waited_for(courses: Courses) -> None:
    outbox = WatchedTagged.of(recorder_of(courses))
    async with await AsyncConnection.connect(
        **connect_arguments(recorder_of(courses).datastore)
    ) as slow:
        assert await insert(slow, courses) == 1
        assert await to_thread.run_sync(append, courses) == 2
        async with reading(outbox) as batches, anyio.create_task_group() as group:
            found: list[int] = []

            async def note() -> None:
                found.extend(await next_positions(batches, 2))

            group.start_soon(note)
            await outbox.proving.wait()
            assert found == []
            await slow.commit()
        assert found == [1, 2]


async def test_a_hole_that_is_permanent_is_passed(courses: Courses) -> None:
    async with await AsyncConnection.connect(
        **connect_arguments(recorder_of(courses).datastore)
    ) as slow:
        assert await insert(slow, courses) == 1
        await slow.rollback()
    append(courses)

    assert await read(outbox_of(courses)) == [2]


async def test_one_that_waits_for_the_lock_of_another_has_no_position_yet(
    courses: Courses,
) -> None:
    """An append with a condition locks the table: who waits for that is behind it."""
    recorder = recorder_of(courses)
    lock = sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(
        sql.Identifier(recorder.datastore.schema, recorder.events_table_name)
    )
    async with await AsyncConnection.connect(**connect_arguments(recorder.datastore)) as first:
        await first.execute(lock)
        async with anyio.create_task_group() as group:
            group.start_soon(append_in_a_thread, courses)
            assert await insert(first, courses) == 1
            await first.commit()
    assert await read(outbox_of(courses), count=2) == [1, 2]


async def test_relays_take_turns(courses: Courses) -> None:
    first = outbox_of(courses)
    second = WatchedTagged.of(recorder_of(courses))
    had_it = anyio.Event()

    async def wait_for_it() -> None:
        async with second.turn():
            had_it.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group, first.turn():
            assert await first.owner() is not None
            group.start_soon(wait_for_it)
            await second.waiting_for_turn.wait()
            assert not had_it.is_set()
        assert had_it.is_set()


async def test_a_sequence_that_caches_is_refused(courses: Courses) -> None:
    recorder = recorder_of(courses)
    async with await AsyncConnection.connect(**connect_arguments(recorder.datastore)) as owner:
        await owner.execute("ALTER SEQUENCE courses_events_tt_main_id_seq CACHE 10")
    with pytest.raises(UnfitOutboxError, match="CACHE 1"):
        await read(outbox_of(courses))


class Strange:
    """A recorder of which nothing is known."""


class Promising(Strange):
    """One that promises what is needed."""

    positions_are_in_commit_order = True


@pytest.mark.parametrize("kind", [Application, Courses])
def test_an_unknown_recorder_is_refused_unless_it_promises(kind: Any) -> None:
    with kind() as app:
        assert isinstance(app.recorder, (POPOApplicationRecorder, InMemoryDCBRecorder))
        app.recorder = Strange()
        with pytest.raises(UnknownRecorderError, match="positions_are_in_commit_order = True"):
            outbox_of(app)
        app.recorder = Promising()
        outbox_of(app)


async def test_a_database_that_can_not_be_reached_is_said_as_for_aggregates(
    courses_settings: dict[str, str],
) -> None:
    with pytest.raises(PostgresUnreachableError, match=r"127.0.0.1:1/.*refused"):
        await reach(Courses, {**courses_settings, "COURSES_POSTGRES_PORT": "1"})


async def test_no_decision_is_of_an_aggregate(app: Courses) -> None:
    app.recorder.append([EVENT])

    assert await outbox_of(app).of_aggregate("a", 1) == []
