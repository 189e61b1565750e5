"""A view as it was at a position: a generation of its own, which nobody brings on."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import anyio
import pytest
from psycopg import sql

from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import PastError, ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.operations.as_of import (
    BeyondTheHeadError,
    NoSuchGenerationError,
    OccupiedError,
    ViewAsOf,
    drop_generation,
    generations,
)
from eventsourcing_kafka.consumer.operations.filling import (
    AlreadyRebuildingError,
    RebuildProgress,
    Source,
    alone,
)
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.operations.replay import replay_view
from eventsourcing_kafka.consumer.operations.status import read_status
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from eventsourcing_kafka.consumer.views.fts import VIEW as FTS
from eventsourcing_kafka.consumer.views.fts import view as fts_view
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo, policy
from eventsourcing_kafka.consumer.views.fts.search import search
from tests.activity.counting import expected_activity, found_activity
from tests.chaos.damage import delete_records
from tests.consumer.interrupting import Interrupted
from tests.pipeline import Pipeline, until

from .counted import last_position, write
from .test_broken import delete_all, topics_of
from .test_limited import in_write_model

TWO = {"KAFKA_TOPIC_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT_MS": "1500"}
STRIDE = 29
"""Every so many awaits it is interrupted."""

TAKE_A_POSITION = "SELECT nextval('contentmanagement_events_notification_id_seq')"

Rows = Mapping[str, Sequence[Any]]


def nothing(_: RebuildProgress) -> None:
    """Report to nobody."""


def as_of(pipeline: Pipeline, position: int, source: Source = Source.KAFKA) -> ViewAsOf:
    return ViewAsOf(
        pipeline.store,
        pipeline.settings,
        position,
        progress_seconds=0.02,
        write_model=write_model_of(pipeline.store.view, pipeline.environment),
        source=source,
    )


async def rows_in(store: ViewStore, schema: str) -> Rows:
    """Return all rows of a generation."""
    async with store.connected() as connection:
        rows = {}
        for table in store.view.tables:
            select = sql.SQL("SELECT to_jsonb(it) FROM {} AS it ORDER BY it::text")
            cursor = await connection.execute(select.format(sql.Identifier(schema, table)))
            rows[table] = await cursor.fetchall()
        return rows


async def grown(pipeline: Pipeline, name: str) -> tuple[int, Rows]:
    """Write something; return the position that the view is at then, and what it has."""
    await write(pipeline, name, pages=2, edits=2)
    await pipeline.settled()
    position = await pipeline.do(last_position, pipeline.wiki)
    return position, await rows_in(pipeline.store, pipeline.store.schema)


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize("view", [FTS, ACTIVITY], ids=lambda view: view.name)
async def test_it_has_the_rows_that_the_view_had_while_writers_and_consumers_go_on(
    environment: dict[str, str], view: View, source: Source
) -> None:
    async with Pipeline(environment | TWO, consumers=2, view=view) as pipeline:
        had = [await grown(pipeline, f"stage{number}-") for number in range(3)]
        async with anyio.create_task_group() as at_once:
            at_once.start_soon(write, pipeline, "while", 5)
            for position, rows in had:
                past = await as_of(pipeline, position, source).run(nothing)
                assert (past.is_whole, past.parked) == (True, 0)
                assert await rows_in(pipeline.store, past.schema) == rows

        await pipeline.settled()
        positions = [position for position, _ in had]
        assert [each.position for each in await generations(pipeline.store)] == positions
        async with pipeline.store.connected() as connection:
            for position in positions:
                tracked = await pipeline.store.as_of(position).tracking.positions(connection)
                assert max(tracked) == position  # Each position is of the view's last event then.


async def test_each_partition_comes_to_the_position_and_no_further_wherever_that_is(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO, view=ACTIVITY) as pipeline:
        await write(pipeline, "before", pages=2, edits=1)
        hole = await pipeline.do(last_position, pipeline.wiki) + 1
        await in_write_model(pipeline, TAKE_A_POSITION)
        await write(pipeline, "after", pages=2, edits=1)
        await pipeline.settled()

        for position in (1, 3, hole, hole + 2):
            past = await as_of(pipeline, position).run(nothing)
            expected = await pipeline.do(expected_activity, pipeline.wiki, position)
            assert await found_activity(pipeline.store.as_of(position)) == expected
            assert past.position == position
            assert await as_of(pipeline, position).run(nothing) == past  # There is nothing to do.


async def test_it_is_neither_brought_on_nor_swept_away_by_anybody_until_it_is_dropped(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        position, rows = await grown(pipeline, "early")
        (past, other) = [await as_of(pipeline, each).run(nothing) for each in (position, 2)]
        job = Rebuild(pipeline.store, pipeline.settings, progress_seconds=0.02)
        await job.run(nothing, keep=True)
        await job.swap_back()
        await grown(pipeline, "late")
        assert await rows_in(pipeline.store, past.schema) == rows

        reading = ViewStore.of(FTS, {**pipeline.environment, "FTS_POSTGRES_SCHEMA": past.schema})
        assert len(await search(reading, "early0")) == 1
        assert not await search(reading, "late0")
        refusal = pytest.RaisesExc(PastError, match="is fts as it was")
        with pytest.RaisesGroup(refusal, flatten_subgroups=True):
            await Consumer(reading, pipeline.settings, grace=0).run()
        with pytest.raises(PastError, match="FTS_POSTGRES_SCHEMA=fts_at_"):
            await replay_view(reading)
        of_the_past = Rebuild(reading, pipeline.settings, progress_seconds=0.02)
        for refused in (
            of_the_past.run(nothing, even_if_parked=True),
            of_the_past.swap_back(),
            ViewAsOf(reading, pipeline.settings, 1).run(nothing),
            drop_generation(reading, "fts_at_1"),
        ):
            with pytest.raises(PastError, match="leave that out here"):
                await refused
        assert await rows_in(pipeline.store, past.schema) == rows

        with pytest.raises(NoSuchGenerationError, match=f"There are: fts_at_2, {past.schema}"):
            await drop_generation(pipeline.store, "fts_kept")
        await drop_generation(pipeline.store, past.schema)
        assert [each.schema for each in await generations(pipeline.store)] == [other.schema]
        await pipeline.settled()
        assert await pipeline.pages() == await pipeline.expected_pages()


async def test_what_is_not_known_yet_or_is_somebody_else_s_is_refused(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO, consumers=0, relay=False) as pipeline:
        with pytest.raises(ViewMissingError):
            await as_of(pipeline, 1).run(nothing)
        pipeline.start_consumer()
        pipeline.start_relay()
        await write(pipeline, "page", pages=1, edits=1)
        await pipeline.settled()
        head = await pipeline.do(last_position, pipeline.wiki)
        with pytest.raises(BeyondTheHeadError, match=f"up to position {head}, and {10**30} is"):
            await as_of(pipeline, 10**30).run(nothing)
        async with pipeline.store.connected() as connection:
            await connection.execute("CREATE SCHEMA fts_at_1")
            await connection.execute("CREATE SCHEMA fts_at_2x")
        with pytest.raises(OccupiedError, match="was not made by this command"):
            await as_of(pipeline, 1).run(nothing, anew=True)
        with pytest.raises(NoSuchGenerationError, match="There is none"):
            await drop_generation(pipeline.store, "fts_at_1")

        german = ViewStore.of(FTS, pipeline.environment | {"FTS_LANGUAGE": "german"})
        await ViewAsOf(german, pipeline.settings, head).run(nothing)
        with pytest.raises(OccupiedError, match=r"made by other code.*--anew"):
            await as_of(pipeline, head).run(nothing)
        assert (await as_of(pipeline, head).run(nothing, anew=True)).is_whole
        assert len(await search(pipeline.store.as_of(head), "page0")) == 1


async def nobody_rebuilds(store: ViewStore) -> bool:
    with suppress(AlreadyRebuildingError):
        async with alone(store):
            return True
    return False


# A client that is cancelled while it connects leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_interrupted_anywhere_it_goes_on_where_it_was(environment: dict[str, str]) -> None:
    async with Pipeline(environment | TWO, view=ACTIVITY) as pipeline:
        position, rows = await grown(pipeline, "early")
        await grown(pipeline, "late")
        for n in count(STRIDE, STRIDE):
            await until(lambda: nobody_rebuilds(pipeline.store))  # The one before may yet end.
            with anyio.CancelScope() as scope:
                interrupted = Interrupted(as_of(pipeline, position).run(nothing), n, scope.cancel)
                await interrupted
            for each in await generations(pipeline.store):
                # It may have been interrupted after its end.
                assert not each.is_whole or await rows_in(pipeline.store, each.schema) == rows
            if not interrupted.happened:
                break
        assert n > 2 * STRIDE
        (past,) = await generations(pipeline.store)
        assert past.is_whole
        assert await rows_in(pipeline.store, pipeline.store.as_of(position).schema) == rows


@pytest.mark.parametrize("source", Source)
async def test_what_kafka_has_deleted_comes_from_the_write_model(
    environment: dict[str, str], source: Source
) -> None:
    async with Pipeline(environment | TWO, view=ACTIVITY) as pipeline:
        early = await grown(pipeline, "early")
        topic = topics_of(pipeline)[0]
        await delete_records(pipeline.settings.bootstrap_servers, topic, lambda _, end: end)
        nothing_left = await as_of(pipeline, early[0], source).run(nothing)
        assert await rows_in(pipeline.store, nothing_left.schema) == early[1]

        middle = await grown(pipeline, "middle")
        await grown(pipeline, "late")
        for position, rows in (early, middle):
            past = await as_of(pipeline, position, source).run(nothing, anew=True)
            assert await rows_in(pipeline.store, past.schema) == rows

        await delete_all(pipeline, 0)  # The other one goes on in Kafka before it ends.
        past = await as_of(pipeline, middle[0], source).run(nothing, anew=True)
        assert await rows_in(pipeline.store, past.schema) == middle[1]


async def test_what_can_t_be_applied_to_it_is_told_and_does_not_show_elsewhere(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        position, rows = await grown(pipeline, "page")

        def refuse(event: Any, page: PageInfo | None) -> PageInfo | None:
            raise ValueError("no news")

        monkeypatch.setattr(fts_view, "policy", refuse)
        past = await as_of(pipeline, position).run(nothing)
        assert past.parked > 0
        assert "ValueError: no news" in {each.reason for each in past.first_parked}
        assert not any(row.parked for row in await read_status(pipeline.store, pipeline.settings))

        monkeypatch.setattr(fts_view, "policy", policy)
        again = await as_of(pipeline, position).run(nothing, anew=True)
        assert (again.parked, await rows_in(pipeline.store, again.schema)) == (0, rows)
