"""A new generation beside the active one, and the swap."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, LiteralString

import anyio
import psycopg
import pytest

from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.engine.store import ShapeChangedError, ViewMissingError, ViewStore
from eventsourcing_kafka.consumer.operations.comparison import Compared
from eventsourcing_kafka.consumer.operations.filling import (
    AlreadyRebuildingError,
    RebuildProgress,
    TopicMissingError,
)
from eventsourcing_kafka.consumer.operations.rebuild import (
    NEARLY,
    KeptMissingError,
    MoreParkedError,
    NotComparableError,
    Rebuild,
)
from eventsourcing_kafka.consumer.operations.redrive import (
    drop,
    dropped_events,
    parked_events,
    retry,
)
from eventsourcing_kafka.consumer.operations.status import read_ends, read_status
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts import view as fts_view
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo, policy
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from tests.consumer.interrupting import Interrupted
from tests.pipeline import SECONDS, Pipeline, WithoutKafka, page_id, until

from .counted import assert_counted_once, is_waited_for, write

TWO = {"KAFKA_TOPIC_PARTITIONS": "2", "KAFKA_SESSION_TIMEOUT_MS": "1500"}
EVERY_PAGE = "-nothing"
STRIDE = 43
"""Every so many awaits a rebuild is interrupted."""

rebuild = partial(Rebuild, progress_seconds=0.02)


def nothing(_: RebuildProgress) -> None:
    """Report to nobody."""


async def assert_right(pipeline: Pipeline) -> None:
    await pipeline.settled()
    assert await pipeline.pages() == await pipeline.expected_pages()
    assert not any(row.parked for row in await pipeline.progress())


@asynccontextmanager
async def searching(store: ViewStore) -> AsyncIterator[list[int]]:
    """Search without a pause meanwhile; tell how many pages were found each time."""
    found: list[int] = []

    ended = anyio.Event()

    async def search_on() -> None:
        while not ended.is_set():
            found.append(len(await search(store, EVERY_PAGE, limit=1000)))

    async with anyio.create_task_group() as searchers:
        searchers.start_soon(search_on)
        yield found
        ended.set()


@pytest.mark.parametrize("keep", [False, True])
async def test_searches_and_consumers_go_on_while_a_view_is_rebuilt_and_swapped(
    environment: dict[str, str], keep: bool
) -> None:
    async with Pipeline(environment | TWO, consumers=2) as pipeline:
        await write(pipeline, "page", pages=4)
        await pipeline.settled()
        reported: list[RebuildProgress] = []
        async with searching(pipeline.store) as found:
            for number in range(2):
                async with anyio.create_task_group() as at_once:
                    at_once.start_soon(write, pipeline, f"while{number}", 5, 5)
                    job = rebuild(pipeline.store, pipeline.settings)
                    await job.run(reported.append, keep=keep)
            await assert_right(pipeline)
        assert found == sorted(found)
        assert found[0] >= 4
        assert len(found) > 10
        assert reported[-1].gap == 0
        assert reported[-1].records > 40
        assert await schemas_of(pipeline) == {"fts", "fts_kept"} if keep else {"fts"}


async def test_a_search_under_way_holds_up_the_removal_of_what_it_searches_and_is_never_ended(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=1)
        await pipeline.settled()
        async with (
            anyio.create_task_group() as rebuilding,
            pipeline.store.connected() as search,
            search.transaction(),
        ):
            await search.execute(pipeline.store.sql("SELECT FROM {schema}.pages"))
            rebuilding.start_soon(rebuild(pipeline.store, pipeline.settings).run, nothing)
            await until(lambda: has_swapped(pipeline))
            await until(lambda: is_waited_for(search))
            await search.execute("SELECT FROM fts_aside.parked")
            await assert_right(pipeline)
        assert await schemas_of(pipeline) == {"fts"}


async def has_swapped(pipeline: Pipeline) -> bool:
    return await schemas_of(pipeline) == {"fts", "fts_aside"}


async def schemas_of(pipeline: Pipeline) -> set[str]:
    async with pipeline.store.connected() as connection:
        cursor = await connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'fts%'"
        )
        return {name for (name,) in await cursor.fetchall()}


async def test_a_view_that_counts_is_rebuilt_with_every_event_counted_once(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO, consumers=2, view=ACTIVITY) as pipeline:
        await write(pipeline, "before", pages=3)
        for number in range(2):
            async with anyio.create_task_group() as at_once:
                at_once.start_soon(write, pipeline, f"while{number}", 3)
                await pipeline.applied()
                await rebuild(pipeline.store, pipeline.settings).run(nothing)
            await assert_counted_once(pipeline)


# A client that is cancelled while it connects leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_rebuild_interrupted_anywhere_leaves_the_view_whole_and_the_next_goes_on(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=3)
        await pipeline.settled()
        for n in count(1, STRIDE):
            with anyio.CancelScope() as scope:
                job = rebuild(pipeline.store, pipeline.settings).run(nothing, keep=n % 2 == 0)
                interrupted = Interrupted(job, n, scope.cancel)
                await interrupted
            await write(pipeline, f"page{n}-", pages=1, edits=2)
            await assert_right(pipeline)
            assert len(await search(pipeline.store, EVERY_PAGE, limit=1000)) >= 3
            if not interrupted.happened:
                break
        assert n > 3 * STRIDE


async def test_what_an_interrupted_rebuild_has_filled_is_gone_on_with_unless_told_otherwise(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=3)
        await pipeline.settled()
        for anew in (False, True):
            with monkeypatch.context() as broken:
                broken.setattr(ViewStore, "create_indexes", _raise(Broken()))
                with pytest.RaisesGroup(Broken, flatten_subgroups=True):
                    await rebuild(pipeline.store, pipeline.settings, nearly=0).run(nothing)
            following = pipeline.store.generation("fts_next")
            async with following.connected() as connection:
                await connection.execute(following.sql("UPDATE {schema}.pages SET title = 'Kept'"))
            await rebuild(pipeline.store, pipeline.settings, nearly=0).run(nothing, anew=anew)
            assert ({page.title for page in await pipeline.pages()} == {"Kept"}) is not anew


class Broken(Exception):  # noqa: N818 - it stands for anything
    """Something that goes wrong."""


def _raise(error: Exception) -> Callable[..., Awaitable[None]]:
    async def raise_it(*_: Any) -> None:
        raise error

    return raise_it


async def test_the_kept_generation_is_swapped_back_and_brought_up_to_date(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        job = rebuild(pipeline.store, pipeline.settings)
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
        with pytest.raises(KeptMissingError, match="--keep"):
            await job.swap_back()
        await job.run(nothing, keep=True)
        await interrupt_while_filling(job)
        async with searching(pipeline.store) as found:
            for number in range(2):
                await write(pipeline, f"after{number}-", pages=1)
                await pipeline.settled()
                await job.swap_back()
                await assert_right(pipeline)
        assert min(found) >= 2


LOGGED = replace(
    VIEW,
    create=[
        *VIEW.create,
        "CREATE TABLE {schema}.pages_log (id uuid, pages text)",
        """
        CREATE FUNCTION {schema}.log() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            pages text := '{schema}';
        BEGIN
            INSERT INTO {schema}.pages_log VALUES (NEW.id, pages);
            RETURN NULL;
        END $$
        """,
        """
        CREATE TRIGGER logging AFTER INSERT ON {schema}.pages
            FOR EACH ROW EXECUTE FUNCTION {schema}.log()
        """,
    ],
)


async def test_functions_of_a_view_go_on_under_the_name_that_it_has_after_a_swap(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO, view=LOGGED) as pipeline:
        job = rebuild(pipeline.store, pipeline.settings)
        await write(pipeline, "page", pages=1)
        await pipeline.settled()
        await job.run(nothing, keep=True)
        await write(pipeline, "after", pages=1)
        await assert_right(pipeline)
        await job.swap_back()
        await write(pipeline, "back", pages=1)
        await assert_right(pipeline)

        async with pipeline.store.connected() as connection:
            select = (
                "SELECT count(*), (SELECT count(*) FROM {schema}.pages) FROM {schema}.pages_log"
            )
            cursor = await connection.execute(pipeline.store.sql(select))
            assert await cursor.fetchall() == [(3, 3)]


async def interrupt_while_filling(job: Rebuild) -> None:
    """Leave a generation half filled."""
    with anyio.CancelScope() as scope:
        await job.run(lambda _: scope.cancel())


WITH_AUTHORS = replace(VIEW, create=[*VIEW.create, "ALTER TABLE {schema}.pages ADD author text"])


async def assert_refused(consumer: Consumer) -> None:
    """Run a consumer until it ends with what to do."""
    refusal = pytest.RaisesExc(ShapeChangedError, match="eventsourcing-kafka consumer rebuild fts")
    with pytest.RaisesGroup(refusal, flatten_subgroups=True):
        await consumer.run()


@pytest.mark.parametrize(
    ("view", "setting", "found"),
    [(VIEW, {"FTS_LANGUAGE": "german"}, 1), (WITH_AUTHORS, {}, 0)],
    ids=["another language", "another column"],
)
async def test_another_shape_is_refused_until_it_is_rebuilt_and_then_the_old_code_is(
    environment: dict[str, str], view: View, setting: dict[str, str], found: int
) -> None:
    async with Pipeline(environment | TWO, consumers=0) as pipeline:
        await pipeline.write("page", "Die Häuser\n")
        new = ViewStore.of(view, pipeline.environment | setting)
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as old_code:
                old_code.start_soon(assert_refused, pipeline.consumer())
                await assert_right(pipeline)
                await assert_refused(Consumer(new, pipeline.settings, grace=0))
                assert await search(pipeline.store, "häusern") == []

                await rebuild(new, pipeline.settings).run(nothing)
                pipeline.store = new
                rows, trackings = await pipeline.pages(), await pipeline.trackings()
                await pipeline.write("late", "word\n")
        assert (await pipeline.pages(), await pipeline.trackings()) == (rows, trackings)

        pipeline.start_consumer()
        await assert_right(pipeline)
        assert len(await search(new, "häusern")) == found


BEFORE_THE_CHAIN: Sequence[LiteralString] = (
    "ALTER TABLE {schema}.tracking DROP COLUMN identity, DROP COLUMN record_offset",
    "ALTER TABLE {schema}.parked DROP COLUMN topic",
    "ALTER TABLE {schema}.dropped DROP COLUMN topic, DROP COLUMN skipped_to",
    "UPDATE {schema}.tracking SET shape = 'old'",
)


async def test_tables_of_before_the_chain_are_refused_with_what_to_do_and_rebuilt(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2, edits=1)
        await pipeline.settled()
        await pipeline.consumers.pop().stop()
        async with pipeline.store.connected() as connection:
            for statement in BEFORE_THE_CHAIN:
                await connection.execute(pipeline.store.sql(statement))

        with pytest.raises(ShapeChangedError, match="consumer rebuild fts"):
            await read_status(pipeline.store, pipeline.settings)
        await assert_refused(pipeline.consumer())

        await rebuild(pipeline.store, pipeline.settings).run(nothing)
        pipeline.start_consumer()
        await assert_right(pipeline)


async def test_what_is_parked_is_applied_by_a_rebuild_that_can_and_what_was_dropped_stays_so(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2, edits=1)
        await pipeline.settled()
        async with pipeline.store.connected() as connection:
            await connection.execute(pipeline.store.sql("UPDATE {schema}.pages SET body = 'x'"))
        await pipeline.do(pipeline.wiki.update_body, "page0", "given up\n")
        await pipeline.do(pipeline.wiki.update_body, "page1", "parked\n")
        await pipeline.settled()
        for event in await parked_events(pipeline.store):
            if event.originator_id == str(await pipeline.do(page_id, pipeline.wiki, "page0")):
                await drop(pipeline.store, event.id, by="Ada", reason="spam")

        await rebuild(pipeline.store, pipeline.settings).run(nothing)
        await pipeline.do(pipeline.wiki.update_title, "page0", "New")
        await pipeline.settled()

        assert await parked_events(pipeline.store) == []
        assert [event.dropped_by for event in await dropped_events(pipeline.store)] == ["Ada"]
        bodies = {page.slug: (page.title, page.body) for page in await pipeline.pages()}
        assert bodies == {"page0": ("New", "0\n"), "page1": ("Page1", "parked\n")}


async def test_what_still_cannot_be_applied_is_parked_in_the_new_generation_too(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(event: Any, page: PageInfo | None) -> PageInfo | None:
        changed = policy(event, page)
        if changed and changed.title == "New":
            raise ValueError("no news")
        return changed

    monkeypatch.setattr(fts_view, "policy", refuse)
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2, edits=1)
        await pipeline.do(pipeline.wiki.update_title, "page0", "New")
        await pipeline.settled()
        before = [event.record_offset for event in await parked_events(pipeline.store)]
        await rebuild(pipeline.store, pipeline.settings).run(nothing)
        assert [event.record_offset for event in await parked_events(pipeline.store)] == before
        assert [result.stale for result in await search(pipeline.store, "page0")] == [True]

        monkeypatch.setattr(fts_view, "policy", policy)
        await retry(pipeline.store, str(await pipeline.do(page_id, pipeline.wiki, "page0")))
        await assert_right(pipeline)


async def test_a_rebuild_that_fails_leaves_the_active_generation_and_the_next_one_succeeds(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
        broken = replace(VIEW, indexes=["CREATE INDEX ON {schema}.nowhere (title)"])
        store = ViewStore.of(broken, pipeline.environment)
        with pytest.RaisesGroup(psycopg.errors.UndefinedTable, flatten_subgroups=True):
            await rebuild(store, pipeline.settings).run(nothing)
        await write(pipeline, "late", pages=2)
        await assert_right(pipeline)

        await rebuild(pipeline.store, pipeline.settings).run(nothing)
        await assert_right(pipeline)


async def test_a_topic_that_loses_its_end_meanwhile_is_not_waited_for(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a broker that comes back without its last seconds has it, or a topic made anew."""
    ends_before: list[Mapping[int, int]] = []

    async def read_ends_once_too_far(store: Store, settings: KafkaSettings) -> dict[int, int]:
        ends = await read_ends(store, settings)
        if not ends_before:
            ends_before.append({partition: end + 2 * NEARLY for partition, end in ends.items()})
            return dict(ends_before[0])
        return ends

    monkeypatch.setattr(
        "eventsourcing_kafka.consumer.operations.rebuild.read_ends", read_ends_once_too_far
    )
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
        with anyio.fail_after(SECONDS):
            await rebuild(pipeline.store, pipeline.settings).run(nothing)
        await assert_right(pipeline)
    assert ends_before


class Remembered:
    """A judge that says yes or no, and what it was given."""

    def __init__(self, *, swap: bool) -> None:
        self.compared: Sequence[Compared] = ()
        self._swap = swap

    async def __call__(self, compared: Sequence[Compared]) -> bool:
        self.compared = compared
        return self._swap


@pytest.mark.parametrize("view", [VIEW, ACTIVITY], ids=lambda view: view.name)
async def test_both_generations_are_compared_at_the_same_positions_though_writers_go_on(
    environment: dict[str, str], view: View
) -> None:
    judge = Remembered(swap=True)
    async with Pipeline(environment | TWO, view=view) as pipeline:
        await write(pipeline, "before", pages=5)
        await pipeline.settled()
        async with anyio.create_task_group() as at_once:
            at_once.start_soon(write, pipeline, "while", 10)
            assert await rebuild(pipeline.store, pipeline.settings).run(nothing, judge=judge)
        await pipeline.settled()

    assert [each.table for each in judge.compared] == list(view.tables)
    assert all(each.is_equal and each.equal for each in judge.compared)


async def test_a_row_that_is_not_the_same_is_found_and_no_generation_takes_the_other_s_place(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment | TWO, view=ACTIVITY) as pipeline:
        changed = await pipeline.write("changed", "one\n")
        gone = await pipeline.write("gone", "one\n")
        await pipeline.write("same", "one\n")
        await pipeline.settled()
        store = pipeline.store
        async with store.connected() as connection:
            for statement, values in (
                ("UPDATE {schema}.pages SET title = 'x' WHERE page_id = %s", [changed]),
                ("DELETE FROM {schema}.pages WHERE page_id = %s", [gone]),
                ("UPDATE {schema}.changes SET change = 'x' WHERE page_id = %s", [changed]),
            ):
                await connection.execute(store.sql(statement), values)
        judge = Remembered(swap=False)

        assert not await rebuild(store, pipeline.settings).run(nothing, judge=judge)

        found = {each.table: each for each in judge.compared}
        assert (found["pages"].equal, found["pages"].different, found["pages"].only_next) == (
            1,
            1,
            1,
        )
        assert found["pages"].examples == [{"page_id": str(changed)}, {"page_id": str(gone)}]
        counts = found["changes"]
        assert counts.different + min(counts.only_active, counts.only_next) == 2
        assert found["contributors"].is_equal
        async with store.connected() as connection:
            titles = await connection.execute(store.sql("SELECT title FROM {schema}.pages"))
            assert ("x",) in await titles.fetchall()

        # What was not to be is to be looked at, and nobody goes on with what is wrong in it.
        async with store.connected() as connection:
            following = store.generation(f"{store.schema}_next")
            await connection.execute(following.sql("UPDATE {schema}.pages SET edits = 1000"))
        assert await rebuild(store, pipeline.settings).run(nothing)
        await assert_counted_once(pipeline)


async def test_generations_are_compared_though_no_consumer_brings_the_present_one_on(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventsourcing_kafka.consumer.operations.rebuild.SAME_SECONDS", 5.0)
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
    async with Pipeline(environment | TWO, consumers=0) as pipeline:
        await write(pipeline, "later", pages=2)
        await pipeline.published()
        before, judge = await pipeline.pages(), Remembered(swap=True)
        job = rebuild(pipeline.store, pipeline.settings)

        assert await job.run(nothing, judge=judge)
        assert [(each.equal, each.is_equal) for each in judge.compared] == [(len(before), True)]


async def test_a_generation_that_is_ahead_of_the_present_one_is_not_compared_with_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventsourcing_kafka.consumer.operations.rebuild.SAME_SECONDS", 0.2)
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
    async with Pipeline(environment | TWO, consumers=0) as pipeline:
        await write(pipeline, "later", pages=2)
        await pipeline.published()
        job = rebuild(pipeline.store, pipeline.settings, nearly=0)
        with anyio.CancelScope() as scope:
            await job.run(lambda progress: None if progress.gap else scope.cancel())

        with pytest.RaisesGroup(NotComparableError, flatten_subgroups=True):
            await job.run(nothing, judge=Remembered(swap=True))


@pytest.mark.parametrize(("followed", "there"), [("1", "2"), ("2", "1")])
async def test_generations_of_other_partitions_are_not_compared(
    environment: dict[str, str], followed: str, there: str
) -> None:
    async with Pipeline(environment | {"KAFKA_TOPIC_PARTITIONS": followed}) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
    other = {
        "KAFKA_TOPIC_PARTITIONS": there,
        "KAFKA_TOPIC_PREFIX": f"{environment['KAFKA_TOPIC_PREFIX']}other.",
    }
    async with Pipeline(environment | other, consumers=0) as pipeline:
        await pipeline.published()

        with pytest.raises(NotComparableError, match=rf"\({there}\) than .*\({followed}\)"):
            await rebuild(pipeline.store, pipeline.settings).run(
                nothing, judge=Remembered(swap=True)
            )


async def test_a_generation_that_parks_more_than_the_present_one_is_not_swapped_in(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As one that older code fills, which can't apply what the consumers' code can."""

    def older(event: Any, page: PageInfo | None) -> PageInfo | None:
        if type(event).__name__ == "BodyUpdated":
            raise ValueError("not known yet")
        return policy(event, page)

    async with Pipeline(environment | TWO) as pipeline:
        page = await pipeline.write("page", "one\n")
        await pipeline.settled()
        before = await pipeline.pages()
        monkeypatch.setattr(fts_view, "policy", older)

        job = rebuild(pipeline.store, pipeline.settings)
        with pytest.raises(
            MoreParkedError, match=r"has 1 events parked, and the present one 0.*older"
        ) as refused:
            await job.run(nothing)
        reason = f"The first of them: Page.BodyUpdated of {page}: ValueError: not known yet."
        assert reason in str(refused.value)
        # In the list are those of the present one: none.
        assert "1 events parked: they are listed once it is swapped in" in caplog.text
        assert "parked list" not in caplog.text

        assert await pipeline.pages() == before
        assert not any(row.parked for row in await pipeline.progress())
        assert await job.run(nothing, even_if_parked=True)
        assert sum(row.parked for row in await pipeline.progress()) == 1


async def test_a_view_is_rebuilt_by_one_at_a_time(environment: dict[str, str]) -> None:
    async with Pipeline(environment | TWO) as pipeline:
        await write(pipeline, "page", pages=2)
        await pipeline.settled()
        job = rebuild(pipeline.store, pipeline.settings)
        began = anyio.Event()
        async with anyio.create_task_group() as first:
            first.start_soon(job.run, lambda _: began.set())
            await began.wait()
            for another in (job.run(nothing), job.swap_back()):
                with pytest.raises(AlreadyRebuildingError, match="being rebuilt already"):
                    await another
            first.cancel_scope.cancel()
        await job.run(nothing)
        await assert_right(pipeline)


async def test_a_rebuild_of_what_is_not_there_says_what_to_do(
    environment: dict[str, str], schemas: dict[str, str]
) -> None:
    async with WithoutKafka(schemas) as shortcut:
        settings = KafkaSettings.from_env(environment)
        with pytest.raises(TopicMissingError, match=r"no topic .*contentmanagement\.events"):
            await rebuild(shortcut.store, settings).run(nothing)
        activity = WithoutKafka(schemas, ACTIVITY).store
        with pytest.raises(ViewMissingError, match="consumer run activity"):
            await rebuild(activity, settings).run(nothing)
