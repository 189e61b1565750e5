"""What Kafka has deleted is read from the write model, and the view is the same.

Each view here counts what it applies: an event too many or too few would show.
"""

import math
import re
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, LiteralString

import anyio
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from eventsourcing.cipher import AESCipher

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.consumer.engine.search import ChainSearch, Searched
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.engine.tracking import place_behind
from eventsourcing_kafka.consumer.operations.filling import (
    RebuildProgress,
    Source,
    TopicMissingError,
)
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.operations.history import History, write_model_of
from eventsourcing_kafka.consumer.operations.rebuild import NotLevelError, Rebuild
from eventsourcing_kafka.consumer.operations.replay import replay_view
from eventsourcing_kafka.consumer.operations.status import read_ends
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.wire import Record, WireError, WireFormat, wire_of
from eventsourcing_kafka.producer.wire.chain import START
from eventsourcing_kafka.producer.wire.position import read_published
from examples.dogschool.application import DogSchool
from tests.activity.counting import expected_activity, found_activity
from tests.chaos.damage import delete_records
from tests.consumer.stores import TRICKS
from tests.pipeline import SECONDS, Pipeline, until

from .counted import activity, assert_counted_once, last_position, write
from .operator import Operator
from .test_broken import (
    OFTEN,
    TWO,
    append,
    assert_right,
    delete_all,
    make_topic,
    records,
    says,
    status_of,
    stop,
    stopped,
    topics_of,
)

ONE = {"KAFKA_TOPIC_PARTITIONS": "1"}
BATCH = 7
REPORTS = 3
READS = "reading it from the write model"


def start(pipeline: Pipeline, store: ViewStore | None = None, **options: Any) -> None:
    """Start a consumer that has the way to the write model."""
    source = write_model_of(pipeline.store.view, pipeline.environment)
    pipeline.start_consumer(
        pipeline.consumer(store, pacing=OFTEN, **{"write_model": source, **options})
    )


class InSteps(History):
    """Reads in small batches, and lets a test do something before each."""

    def __init__(self, pipeline: Pipeline, before_batch: Callable[[], Awaitable[None]]) -> None:
        app = pipeline.application
        super().__init__(outbox_of(app, limit=BATCH), wire_of(app), pipeline.store.view)
        self._before_batch = before_batch

    async def records(self, after: int, until: int) -> AsyncGenerator[Sequence[Record], None]:
        async for batch in super().records(after, until):
            await self._before_batch()
            yield batch

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[History]:
        yield self


@asynccontextmanager
async def deleted(environment: dict[str, str]) -> AsyncIterator[Pipeline]:
    """Have some events published, and deleted from Kafka."""
    async with activity(environment | TWO) as pipeline:
        await write(pipeline, "early", pages=4, edits=3)
        await delete_published(pipeline)
        yield pipeline


async def have_applied(pipeline: Pipeline) -> None:
    """Have a view apply some events, and stop it."""
    start(pipeline)
    await write(pipeline, "page", pages=4, edits=3)
    await assert_counted_once(pipeline)
    await stop(pipeline)


async def delete_published(
    pipeline: Pipeline, before: Callable[[int, int], int] = lambda _, end: end
) -> None:
    await pipeline.published()
    topic = topics_of(pipeline)[0]
    await delete_records(pipeline.settings.bootstrap_servers, topic, before)


async def in_write_model(pipeline: Pipeline, statement: LiteralString) -> None:
    """Change the write model behind everybody's back."""
    datastore = pipeline.application.recorder.datastore
    with datastore.get_connection() as connection:
        connection.execute(statement)


async def test_a_new_view_has_all_though_kafka_has_nothing_left(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_right(pipeline)
        assert {row.gap for row in (await status_of(pipeline)).values()} == {0}
        await write(pipeline, "late", pages=2, edits=2)
        await assert_counted_once(pipeline)
    assert caplog.text.count(READS) == 2
    assert "the gap is not known" not in caplog.text


async def last_links(pipeline: Pipeline) -> set[str]:
    """Return the last record of each partition, by the last position record."""
    topics = Topics.of("ContentManagement", pipeline.settings)
    published = await read_published(topics, pipeline.settings)
    assert published
    return {link.text for link in published.ends}


def said_deleted(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return up to where something was said to be deleted."""
    return set(re.findall(r"up to (\S+), has been deleted", caplog.text))


async def test_what_comes_during_a_search_is_not_said_to_be_deleted(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ChainSearch.search
    searches = 0

    async with deleted(environment) as pipeline:
        early = await last_links(pipeline)

        async def writing(reader: ChainSearch, *args: Any) -> Searched:
            nonlocal searches
            found = await search(reader, *args)
            searches += 1
            await write(pipeline, f"late{searches}", pages=4, edits=1)
            await pipeline.published()
            return found

        monkeypatch.setattr(ChainSearch, "search", writing)
        start(pipeline)
        await assert_counted_once(pipeline)
    assert said_deleted(caplog) == early


@asynccontextmanager
async def foreign_transaction(
    pipeline: Pipeline, topic: str, partitions: int
) -> AsyncIterator[None]:
    """Have another's transaction open in each partition meanwhile; it leaves nothing."""
    producer = AIOKafkaProducer(**pipeline.settings.client(), transactional_id=f"{topic}.foreign")
    async with started(producer):
        await producer.begin_transaction()
        for partition in range(partitions):
            await producer.send_and_wait(topic, b"foreign", b"foreign", partition=partition)
        yield
        await producer.abort_transaction()


async def test_what_is_deleted_before_kafka_tells_of_it_is_read_when_it_does(
    environment: dict[str, str],
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_counted_once(pipeline)
        await stop(pipeline)
        events, position = topics_of(pipeline)
        early = await pipeline.do(last_position, pipeline.wiki)
        async with foreign_transaction(pipeline, position, partitions=1):
            await write(pipeline, "late", pages=4, edits=2)
            late = await pipeline.do(last_position, pipeline.wiki)

            async def are_there() -> bool:
                return len(await records(pipeline)) == late - early

            await until(are_there)
            await delete_records(pipeline.settings.bootstrap_servers, events)
            start(pipeline)

            async def has_looked() -> bool:
                rows = (await status_of(pipeline)).values()
                return all(row.offset == row.head for row in rows)

            await until(has_looked)
        await assert_counted_once(pipeline)


async def test_a_view_that_has_all_is_known_to_though_kafka_has_nothing_left_to_tell_it(
    environment: dict[str, str],
) -> None:
    async with activity(environment | TWO) as pipeline:
        await have_applied(pipeline)
        async with pipeline.store.connected() as connection:
            # As one that has not come to pass the end of the last transaction.
            before = "UPDATE {schema}.tracking SET next_offset = record_offset + 1"
            await connection.execute(pipeline.store.sql(before))
        await delete_published(pipeline)

        assert {row.gap for row in (await status_of(pipeline)).values()} == {0}
        await write(pipeline, "late", pages=4, edits=1)
        await delete_published(pipeline)
        assert 0 not in {row.gap for row in (await status_of(pipeline)).values()}
        start(pipeline)
        await assert_counted_once(pipeline)


async def test_a_view_that_was_away_and_a_replay_read_what_they_lack(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_counted_once(pipeline)
        await stop(pipeline)
        await write(pipeline, "away", pages=4, edits=2)
        await pipeline.published()
        await delete_all(pipeline, 1)
        await write(pipeline, "late", pages=4, edits=2)
        await pipeline.published()

        start(pipeline)
        await assert_counted_once(pipeline)
        assert await says(caplog, "partition 1: what comes after")
        await replay_view(pipeline.store)
        await assert_counted_once(pipeline)


async def test_an_offset_that_an_operator_sets_where_all_is_deleted_is_neither_replay_nor_skip(
    environment: dict[str, str], kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_counted_once(pipeline)
        ends = await read_ends(pipeline.store, pipeline.settings)
        await Operator(kafka, pipeline).commit(ends[0])

        start(pipeline)
        await until(partial(says, caplog, "tells no replay from a skip"))
        await write(pipeline, "late", pages=4, edits=2)
        await assert_counted_once(pipeline)
        assert [row.dropped for row in (await status_of(pipeline)).values()] == [0, 0]


class Killing:
    """Stands still for ever before some batch: whoever reads is to be killed there."""

    def __init__(self, batches: int) -> None:
        self.stands = False
        self._left = batches

    async def __call__(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.stands = True
            await self._stand()

    async def _stand(self) -> None:
        await anyio.sleep_forever()


class Standing(Killing):
    """Stands still before some batch until it may go on."""

    def __init__(self, batches: int) -> None:
        super().__init__(batches)
        self.go_on = anyio.Event()

    async def _stand(self) -> None:
        await self.go_on.wait()


@pytest.mark.parametrize("seed", range(2))
async def test_any_mixture_of_the_two_sources_makes_the_same_view(
    environment: dict[str, str], seed: int
) -> None:
    chance = Random(seed)
    async with activity(environment | TWO) as pipeline:
        for number in range(3):
            await write(pipeline, f"{number}-", pages=chance.randint(2, 4), edits=3)
            await delete_published(pipeline, lambda _, end: chance.randint(0, end))
            killing = Killing(chance.randint(0, 4))
            start(pipeline, write_model=InSteps(pipeline, killing).opened)
            await until(partial(stands_or_is_through, killing, pipeline))
            await stop(pipeline)
        start(pipeline)
        await assert_counted_once(pipeline)
        assert await stopped(pipeline) == {}
        assert (await audit(pipeline.environment, ["activity"])).success


async def stands_or_is_through(killing: Killing, pipeline: Pipeline) -> bool:
    if killing.stands:
        return True
    with suppress(psycopg.errors.UndefinedTable):  # It is not there yet.
        trackings = await pipeline.trackings()
        ends = {number: each.offset for number, each in trackings.items()}
        return ends == await pipeline.ends()
    return False


async def test_what_is_deleted_meanwhile_is_read_as_well(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with deleted(environment) as pipeline:
        await write(pipeline, "behind", pages=4, edits=2)
        await pipeline.published()
        is_first = True

        async def go_on() -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                await write(pipeline, "more", pages=4, edits=2)
                await delete_published(pipeline)

        start(pipeline, write_model=InSteps(pipeline, go_on).opened)
        await assert_counted_once(pipeline)
    assert caplog.text.count(READS) > 2


@pytest.mark.parametrize("left", [1, 3])
async def test_a_copy_that_outlives_what_it_is_a_copy_of_misleads_nobody(
    environment: dict[str, str], left: int
) -> None:
    async with activity(environment | ONE) as pipeline:
        await write(pipeline, "early", pages=2, edits=3)
        await pipeline.published()
        await append(pipeline, (await records(pipeline))[0])
        await delete_published(pipeline, lambda _, end: end - left)
        start(pipeline)

        await assert_right(pipeline)

        await write(pipeline, "late", pages=2, edits=2)
        await assert_right(pipeline)


async def test_it_is_told_where_a_view_reads_and_how_far_it_is(
    environment: dict[str, str],
) -> None:
    async with deleted(environment) as pipeline:
        await write(pipeline, "late", pages=2, edits=2)
        await pipeline.published()
        waiting, goes_on = anyio.Event(), anyio.Event()
        batches = 0

        async def wait() -> None:
            nonlocal batches
            batches += 1
            if batches == 3:
                waiting.set()
                await goes_on.wait()

        start(pipeline, write_model=InSteps(pipeline, wait).opened)
        await waiting.wait()

        async def is_half_way() -> bool:
            rows = (await status_of(pipeline)).values()
            return any(row.offset for row in rows)

        await until(is_half_way)
        rows = (await status_of(pipeline)).values()
        assert all(row.from_write_model and row.gap == row.head - row.offset for row in rows)
        assert {row.lag_seconds for row in rows} == {math.inf}
        report = await ViewHealth(pipeline.consumer(), pipeline.settings).report()
        assert report.healthy
        assert not report.ready
        goes_on.set()
        await assert_counted_once(pipeline)
        assert not any(row.from_write_model for row in (await status_of(pipeline)).values())


async def test_a_write_model_that_is_away_is_waited_for_and_health_and_log_say_so(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    is_back = anyio.Event()

    @asynccontextmanager
    async def away_at_first() -> AsyncIterator[History]:
        if not is_back.is_set():
            raise psycopg.OperationalError("gone")
        async with History.of(pipeline.store.view, pipeline.environment) as history:
            yield history

    async with deleted(environment) as pipeline:
        consumer = pipeline.consumer(pacing=OFTEN, write_model=away_at_first)
        pipeline.start_consumer(consumer)
        waits = "write model of ContentManagement: waiting for its server: OperationalError: gone"
        await until(partial(says, caplog, f"activity: {waits}"))
        report = await ViewHealth(consumer, pipeline.settings).report()
        assert waits in report.why
        is_back.set()
        await assert_counted_once(pipeline)
        assert (await ViewHealth(consumer, pipeline.settings).report()).healthy
    named = {getattr(record, "view", "") for record in caplog.records if READS in record.message}
    assert named == {"activity"}


@pytest.mark.parametrize(
    ("change", "back", "why"),
    [
        (
            "UPDATE contentmanagement_events SET topic = topic || '?'",
            "UPDATE contentmanagement_events SET topic = trim(trailing '?' from topic)",
            "restored",
        ),
        (
            "ALTER TABLE contentmanagement_events RENAME TO gone",
            "ALTER TABLE gone RENAME TO contentmanagement_events",
            "does not exist. Give its consumers",
        ),
    ],
)
async def test_another_write_model_is_not_read_until_the_right_one_is_back(
    environment: dict[str, str], change: LiteralString, back: LiteralString, why: str
) -> None:
    async with deleted(environment) as pipeline:
        await pipeline.relay.stop()
        await in_write_model(pipeline, change)
        start(pipeline)

        reasons = await reasons_to_stop(pipeline)
        assert all("can't be read from the write model" in reason for reason in reasons)
        assert all(why in reason for reason in reasons)
        assert {each.link for each in (await pipeline.trackings()).values()} == {START}

        await in_write_model(pipeline, back)
        await assert_right(pipeline)
        assert await stopped(pipeline) == {}


async def reasons_to_stop(pipeline: Pipeline) -> Collection[str]:
    """Wait until the view has stopped, once it is there, and return why."""

    async def is_there_and_has_stopped() -> bool:
        with suppress(psycopg.errors.UndefinedTable):
            return len(await stopped(pipeline)) == len(await pipeline.trackings())
        return False

    await until(is_there_and_has_stopped)
    return (await stopped(pipeline)).values()


async def test_without_a_way_to_the_write_model_the_stop_says_what_to_give(
    environment: dict[str, str],
) -> None:
    async with deleted(environment) as pipeline:
        await write(pipeline, "late", pages=4, edits=2)
        await pipeline.published()
        nowhere = {**pipeline.environment, "PERSISTENCE_MODULE": ""}
        source = write_model_of(pipeline.store.view, nowhere)
        start(pipeline, write_model=source)
        (why, *_) = await reasons_to_stop(pipeline)
        assert "Set it, and the POSTGRES_… or SQLITE_… settings, to the write model's" in why


CIPHER = {
    "CIPHER_TOPIC": "eventsourcing.cipher:AESCipher",
    "CIPHER_KEY": AESCipher.create_key(32),
}


@pytest.mark.parametrize("with_key", [True, False])
async def test_of_what_is_encrypted_the_records_are_those_of_the_relay_that_the_view_can_read(
    *, with_key: bool
) -> None:
    with DogSchool(CIPHER) as school:
        school.register_dog("Rex")
        position = school.add_trick("Rex", "sit") or 2
        view = replace(TRICKS, mapper=school.mapper) if with_key else TRICKS
        async with History.within(school, view) as history:
            found = [record async for batch in history.records(0, position) for record in batch]

        relay = WireFormat.of(school, decrypt=not with_key)
        stored = school.recorder.select_notifications(1, 10)
        assert found == [relay.to_record(each) for each in stored]
        assert [b"sit" in record.value for record in found] == [False, not with_key]


async def test_without_the_key_what_is_encrypted_is_refused() -> None:
    with DogSchool(CIPHER) as school, DogSchool() as keyless:
        school.register_dog("Rex")
        keyless.recorder = school.recorder
        async with History.within(keyless, TRICKS) as history:
            with pytest.raises(WireError, match="CIPHER_KEY as the application has them"):
                await anext(history.records(0, 1))


async def test_a_view_is_rebuilt_from_what_is_in_kafka_no_more(
    environment: dict[str, str],
) -> None:
    async with deleted(environment) as pipeline:
        await write(pipeline, "late", pages=4, edits=2)
        start(pipeline)
        await assert_counted_once(pipeline)
        await rebuilt(pipeline, Source.KAFKA)


async def test_an_open_transaction_keeps_no_generation_from_what_is_deleted(
    environment: dict[str, str],
) -> None:
    async with deleted(environment) as pipeline:
        start(pipeline)
        await assert_counted_once(pipeline)
        events, _ = topics_of(pipeline)
        async with foreign_transaction(pipeline, events, partitions=2):
            await run_rebuild(pipeline)
            expected = await pipeline.do(expected_activity, pipeline.wiki)
            assert await found_activity(pipeline.store) == expected
        await assert_counted_once(pipeline)


async def test_a_generation_is_not_swapped_in_before_it_has_what_the_active_one_has_read(
    environment: dict[str, str],
) -> None:
    async with activity(environment | ONE) as pipeline:
        await write(pipeline, "early", pages=4, edits=3)
        await delete_published(pipeline)
        killing = Killing(2)
        start(pipeline, write_model=InSteps(pipeline, killing).opened)
        await until(lambda: stands(killing))
        await until(lambda: has_some(pipeline))
        before = await found_activity(pipeline.store)
        await run_rebuild(pipeline)
        after = await found_activity(pipeline.store)
        assert after.changes.total() >= before.changes.total() > 0
        await stop(pipeline)
        start(pipeline)
        await assert_counted_once(pipeline)


async def test_where_a_generation_reads_the_write_model_no_guess_of_an_offset_tells_that_it_has_all(
    environment: dict[str, str],
) -> None:
    """Many events have come at once, and then few at a time: their offsets are spread unevenly."""
    async with activity(environment | ONE, relay=False) as pipeline:
        await write(pipeline, "early", pages=10, edits=10)
        pipeline.start_relay()
        start(pipeline)
        await assert_counted_once(pipeline)
        await stop(pipeline)
        (early,) = (await pipeline.ends()).values()
        for number in range(12):
            await pipeline.write(f"late{number}", *(f"{edit}\n" for edit in range(6)))
        await delete_published(pipeline, lambda *_: early)

        await rebuild_standing(pipeline, Standing(17))


@pytest.mark.parametrize(("followed", "there"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("in_kafka", [True, False])
async def test_a_generation_over_other_partitions_has_what_the_active_one_has(
    environment: dict[str, str], followed: int, there: int, *, in_kafka: bool
) -> None:
    of = {count: {"KAFKA_TOPIC_PARTITIONS": f"{count}"} for count in (followed, there)}
    async with activity(environment | of[followed]) as pipeline:
        start(pipeline)
        slug = "first"
        page = await pipeline.write(slug, "one\n")
        while partition_of(str(page).encode(), 2) == 0:
            slug = f"page{page.hex}"
            page = await pipeline.write(slug, "one\n")
        # One of two partitions has nothing of what comes now.
        early = await pipeline.do(last_position, pipeline.wiki)
        for edit in range(3 * BATCH):
            await pipeline.do(pipeline.wiki.update_body, slug, f"{edit}\n")
        await assert_counted_once(pipeline)
        await stop(pipeline)
        await pipeline.relay.stop()
        if not in_kafka:
            await place_in_write_model(pipeline)

        async with activity(environment | of[there] | other_topics(environment)) as anew:
            await delete_published(anew)
            await rebuild_standing(anew, Standing(early // BATCH + 1))
            start(anew)
            await assert_counted_once(anew)


async def test_a_generation_of_a_topic_of_which_nothing_is_said_waits_for_nothing_that_is_not_there(
    environment: dict[str, str],
) -> None:
    async with activity(environment | ONE) as pipeline:
        await have_applied(pipeline)
        await place_in_write_model(pipeline)

    async with activity(environment | ONE | other_topics(environment), relay=False) as anew:
        await make_topic(anew)
        with anyio.fail_after(SECONDS):
            await run_rebuild(anew)
        anew.start_relay()
        start(anew)
        await assert_counted_once(anew)


async def test_a_generation_whose_topic_goes_is_not_swapped_in(
    environment: dict[str, str],
) -> None:
    async with activity(environment | ONE) as pipeline:
        await have_applied(pipeline)
        await pipeline.relay.stop()
        await delete_published(pipeline)
        before = await found_activity(pipeline.store)
        standing = Standing(1)

        async with anyio.create_task_group() as group:
            write_model = InSteps(pipeline, standing).opened
            rebuild = Rebuild(pipeline.store, pipeline.settings, write_model=write_model)
            group.start_soon(ends_with, TopicMissingError, rebuild)
            await until(lambda: stands(standing))
            async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
                await admin.delete_topics([topics_of(pipeline)[0]])
        assert await found_activity(pipeline.store) == before


async def test_a_view_is_let_go_if_nothing_brings_a_generation_nearer(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventsourcing_kafka.consumer.operations.rebuild.SAME_SECONDS", 0.5)
    async with activity(environment | ONE) as pipeline:
        await have_applied(pipeline)
        await delete_published(pipeline)

        write_model = InSteps(pipeline, Killing(1)).opened
        with anyio.fail_after(SECONDS):
            await ends_with(
                NotLevelError, Rebuild(pipeline.store, pipeline.settings, write_model=write_model)
            )

        start(pipeline)
        await write(pipeline, "later", pages=1, edits=1)
        await assert_counted_once(pipeline)
        await run_rebuild(pipeline)
        await assert_counted_once(pipeline)


async def ends_with(error: type[Exception], rebuild: Rebuild) -> None:
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        await rebuild.run(lambda _: None)


def other_topics(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of topics in which nothing is published yet."""
    return {"KAFKA_TOPIC_PREFIX": f"{environment['KAFKA_TOPIC_PREFIX']}other."}


async def place_in_write_model(pipeline: Pipeline) -> None:
    """Have the view go on from the write model, from where it is."""
    statement = pipeline.store.sql("UPDATE {schema}.tracking SET next_offset = %s + position")
    async with pipeline.store.connected() as connection:
        await connection.execute(statement, [place_behind(0)])


async def rebuild_standing(pipeline: Pipeline, standing: Standing) -> None:
    """Rebuild, with a write model that stands still until it is seen that this is waited for."""
    reports = 0

    def report(_: RebuildProgress) -> None:
        nonlocal reports
        reports += standing.stands
        if reports == REPORTS:
            standing.go_on.set()

    before = await found_activity(pipeline.store)
    write_model = InSteps(pipeline, standing).opened
    with anyio.fail_after(SECONDS):
        await Rebuild(pipeline.store, pipeline.settings, write_model=write_model).run(report)
    after = await found_activity(pipeline.store)
    assert standing.stands
    assert after.changes.total() >= before.changes.total() > 0


async def run_rebuild(pipeline: Pipeline) -> None:
    write_model = write_model_of(pipeline.store.view, pipeline.environment)
    rebuild = Rebuild(pipeline.store, pipeline.settings, write_model=write_model)
    assert await rebuild.run(lambda _: None)


async def has_some(pipeline: Pipeline) -> bool:
    return any(row.records for row in await pipeline.progress())


async def stands(killing: Killing) -> bool:
    return killing.stands


async def test_a_view_is_rebuilt_from_the_outbox_though_kafka_has_all(
    environment: dict[str, str],
) -> None:
    async with activity(environment | TWO) as pipeline:
        await write(pipeline, "early", pages=4, edits=3)
        start(pipeline)
        await assert_counted_once(pipeline)
        read = []

        async def note() -> None:
            read.append(1)

        await rebuilt(pipeline, Source.OUTBOX, InSteps(pipeline, note).opened)
        assert read


async def rebuilt(pipeline: Pipeline, source: Source, write_model: Any = None) -> None:
    """Rebuild the view, and see that it is right, and that it was told how far it is."""
    seen: list[RebuildProgress] = []
    opens = write_model or write_model_of(pipeline.store.view, pipeline.environment)
    await Rebuild(pipeline.store, pipeline.settings, write_model=opens, source=source).run(
        seen.append
    )
    assert all(step.records >= 0 and step.gap >= 0 for step in seen)
    assert seen[-1].gap == 0
    await assert_counted_once(pipeline)
