"""From the courses to a view of them: published, applied, operated, and compared."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from eventsourcing.dcb.domain import Tagged
from eventsourcing.dcb.msgpack import Decision

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.monitor.overview import opened_sources
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.as_of import ViewAsOf
from eventsourcing_kafka.consumer.operations.history import (
    NoHistoryError,
    position_at,
    write_model_of,
)
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.operations.redrive import drop, dropped_events, retry
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay, read_status
from eventsourcing_kafka.producer.relay.resume import OtherWriteModelError
from eventsourcing_kafka.producer.relay.topics import TopicUnfitError
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.health import Down
from eventsourcing_kafka.producer.runtime.retry import first_error
from eventsourcing_kafka.producer.wire import WireError, wire_of
from eventsourcing_kafka.producer.wire.tagged import KeyedOtherwiseError
from eventsourcing_kafka.testing import PipelineUnderTest, until
from examples.courses.application import Courses
from examples.courses.domainmodel import CourseOffered, StudentJoined
from examples.courses.places import VIEW
from tests.chaos.damage import delete_records

Env = dict[str, str]

NAME = "examples.courses.places:VIEW"
LEFT = "SELECT title, places_left FROM {schema}.courses ORDER BY title"
BY_COURSE = {"COURSES_PARTITION_BY_TAG": "course"}


class Pipeline(PipelineUnderTest):
    """The courses, a relay and a consumer of their places."""

    def __init__(self, env: Mapping[str, str], **options: Any) -> None:
        super().__init__([VIEW], env, Courses, **options)
        self.store: ViewStore = self.stores[VIEW.name]

    async def places(self) -> dict[str, int]:
        return dict(await self.rows(VIEW, LEFT))

    async def append(self, *decisions: Decision) -> None:
        """Append decisions about courses, which are tagged with nothing else."""
        tagged: list[Tagged[Any]] = [Tagged([f"{each.course}"], each) for each in decisions]  # type: ignore[attr-defined]
        await self.do(self.application.events.append, tagged)

    async def stops(self) -> str:
        """Wait until a partition stops; return what is said of it."""
        said = ""

        async def is_stopped() -> bool:
            nonlocal said
            async with self.store.connected() as connection:
                rows = await self.store.tracking.progress(connection)
            said = next((row.stopped for row in rows if row.stopped), "")
            return bool(said)

        await until(is_stopped)
        return said


def offered(course: str, places: int) -> CourseOffered:
    return CourseOffered(course, course.title(), places, datetime.now(UTC))


async def test_a_view_has_what_was_decided_in_its_order_and_is_operated_as_any(
    courses_environment: Env,
) -> None:
    async with Pipeline(courses_environment) as pipeline:
        courses: Courses = pipeline.application
        poetry = await pipeline.do(courses.offer, "Poetry", 2)
        ada = await pipeline.do(courses.enrol, "Ada")
        await pipeline.do(courses.join, poetry, ada)
        await pipeline.applied()
        assert await pipeline.places() == {"Poetry": 1}
        topic = Topics.of("Courses", pipeline.settings).events
        assert await partitions_of(topic, pipeline.settings) == 1

        async with pipeline.store.connected() as connection:
            await pipeline.store.replay(connection)
        await pipeline.applied()
        assert await pipeline.places() == {"Poetry": 1}
        await Rebuild(pipeline.store, pipeline.settings).run(lambda _: None)
        assert await pipeline.places() == {"Poetry": 1}

        await pipeline.relay.stop()
        pipeline.start_relay()
        await pipeline.do(courses.leave, poetry, ada)
        await pipeline.applied()
        assert await pipeline.places() == {"Poetry": 2}

        before_it = await ViewAsOf(pipeline.store, pipeline.settings, 3).run(lambda _: None)
        async with pipeline.store.connected() as connection:
            past = pipeline.store.as_of(before_it.position)
            cursor = await connection.execute(past.sql("SELECT places_left FROM {schema}.courses"))
            assert await cursor.fetchall() == [(1,)]
        with pytest.raises(NoHistoryError, match="says that it was recorded"):  # They say no time.
            await position_at(datetime.now(UTC), pipeline.store.view, pipeline.environment, Courses)

        assert (await audit(pipeline.environment, [NAME])).success
        async with pipeline.store.connected() as connection:
            await connection.execute(
                pipeline.store.sql("UPDATE {schema}.courses SET places_left = 7")
            )
        (found,) = (await audit(pipeline.environment, [NAME])).findings
        assert found.what == "course 'Poetry': places_left is 7, not 2"


async def test_what_kafka_has_deleted_is_read_from_the_write_model(
    courses_environment: Env,
) -> None:
    async with Pipeline(courses_environment, consumers=0) as pipeline:
        courses: Courses = pipeline.application
        poetry = await pipeline.do(courses.offer, "Poetry", 2)
        ada = await pipeline.do(courses.enrol, "Ada")
        await pipeline.do(courses.join, poetry, ada)
        await pipeline.published()
        topic = Topics.of("Courses", pipeline.settings).events
        await delete_records(pipeline.settings.bootstrap_servers, topic)
        await pipeline.do(courses.leave, poetry, ada)
        write_model = write_model_of(VIEW, pipeline.environment)
        pipeline.start_consumer(pipeline.consumer(write_model=write_model))
        await pipeline.applied()
        assert await pipeline.places() == {"Poetry": 2}


async def test_it_is_watched_as_any(courses_environment: Env) -> None:
    async with Pipeline(courses_environment) as pipeline:
        await pipeline.append(offered("poetry", 2))
        await pipeline.applied()
        with opened_sources(pipeline.environment, [NAME]) as sources:
            overview = await sources.read()
        assert overview.heads == {"Courses": 1}
        topic, rows = overview.topics["Courses"], overview.views["places"]
        assert not isinstance(topic, Down)
        assert not isinstance(rows, Down)
        assert topic.partitions == 1
        (partition,) = rows
        assert (partition.gap, partition.position, partition.lag_seconds) == (0, 1, 0)


async def test_without_a_key_it_stops_before_what_it_can_not_apply_and_an_operator_skips(
    courses_environment: Env, kafka: Kafka
) -> None:
    """To park is to set aside what depends on it, and here that is all that follows."""
    async with Pipeline(courses_environment) as pipeline:
        await pipeline.append(offered("poetry", 2))
        await pipeline.applied()
        await pipeline.append(offered("drama", -1), offered("prose", 3))
        why = await pipeline.stops()
        assert "position 2" in why
        assert await pipeline.places() == {"Poetry": 2}
        async with pipeline.store.connected() as connection:
            assert await pipeline.store.parking.count(connection) == 0
        (tracking,) = (await _progress(pipeline)).values()

        await pipeline.consumers.pop().stop()
        group = f"{pipeline.settings.group_prefix}{pipeline.store.schema}"
        topic = Topics.of("Courses", pipeline.settings).events
        skip = ("--reset-offsets", "--to-offset", str(tracking + 1), "--execute")
        await kafka.tool("consumer-groups", "--group", group, "--topic", topic, *skip)
        pipeline.start_consumer()
        await pipeline.applied()
        assert await pipeline.places() == {"Poetry": 2, "Prose": 3}
        (dropped,) = await dropped_events(pipeline.store)
        assert (dropped.first_position, dropped.last_position) == (2, 2)


async def _progress(pipeline: Pipeline) -> dict[int, int]:
    async with pipeline.store.connected() as connection:
        rows = await pipeline.store.tracking.progress(connection)
    return {row.tracking.partition: row.tracking.offset for row in rows}


async def test_by_a_tag_what_has_the_same_is_parked_behind_it_and_others_go_on(
    courses_environment: Env,
) -> None:
    async with Pipeline({**courses_environment, **BY_COURSE}) as pipeline:
        await pipeline.append(
            offered("course-drama", -1),
            StudentJoined("course-drama", "student-1"),
            offered("course-poetry", 2),
            offered("course-prose", 3),
        )
        await pipeline.applied()
        topic = Topics.of("Courses", pipeline.settings).events
        assert await partitions_of(topic, pipeline.settings) == pipeline.settings.topic_partitions
        assert await pipeline.places() == {"Course-Poetry": 2, "Course-Prose": 3}
        async with pipeline.store.connected() as connection:
            first, behind = await pipeline.store.parking.select(
                connection, originator_id="course-drama"
            )
        assert (first.position, behind.position) == (1, 2)

        await drop(pipeline.store, first.id, by="me", reason="no such course")
        assert await retry(pipeline.store, "course-drama") == 1
        assert (await audit(pipeline.environment, [NAME])).success


async def published_by(pipeline: Pipeline, env: Mapping[str, str] | None = None) -> OperatorError:
    """Return what ends a relay."""
    with (
        Courses({**pipeline.environment, **(env or {})}) as app,
        pytest.raises(ExceptionGroup) as ended,
    ):
        await Relay(outbox_of(app), wire_of(app), pipeline.settings).run()
    error = first_error(ended.value)
    assert isinstance(error, OperatorError)
    return error


async def test_an_event_without_the_tag_stops_the_relay_which_says_what_to_do(
    courses_environment: Env,
) -> None:
    env = {**courses_environment, **BY_COURSE}
    async with Pipeline(env, relay=False, consumers=0) as pipeline:
        await pipeline.do(pipeline.application.enrol, "Ada")
        error = await published_by(pipeline)
        assert isinstance(error, WireError)
        assert "StudentEnrolled at position 1 can't be published" in str(error)
        status = await read_status(
            outbox_of(pipeline.application), wire_of(pipeline.application), pipeline.settings
        )
        assert status.problem == str(error)


async def test_a_topic_keeps_the_way_that_it_is_keyed(courses_environment: Env) -> None:
    env = {**courses_environment, **BY_COURSE, "KAFKA_TOPIC_PARTITIONS": "1"}
    async with Pipeline(env, consumers=0) as pipeline:
        await pipeline.append(offered("course-poetry", 2))
        await pipeline.published()
        await pipeline.relay.stop()
        error = await published_by(pipeline, {"COURSES_PARTITION_BY_TAG": ""})
        assert isinstance(error, KeyedOtherwiseError)
        assert "COURSES_PARTITION_BY_TAG=course" in str(error)
        with pytest.raises(KeyedOtherwiseError, match="COURSES_PARTITION_BY_TAG=course"):
            await audit({**pipeline.environment, "COURSES_PARTITION_BY_TAG": ""}, [NAME])


async def test_another_write_model_is_known_by_its_tags(courses_environment: Env) -> None:
    async with Pipeline(courses_environment, consumers=0) as pipeline:
        await pipeline.append(offered("poetry", 2))
        await pipeline.published()
        await pipeline.relay.stop()
        recorder = pipeline.application.recorder
        with recorder.datastore.get_connection() as connection:
            connection.execute(f"UPDATE {recorder.events_table_name} SET tags = '{{prose}}'")
        error = await published_by(pipeline)
        assert isinstance(error, OtherWriteModelError)
        assert "another one at position 1" in str(error)


async def test_a_topic_of_several_partitions_is_refused_where_all_has_one_order(
    courses_environment: Env,
) -> None:
    async with Pipeline(courses_environment, relay=False, consumers=0) as pipeline:
        topic = Topics.of("Courses", pipeline.settings).events
        async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
            await admin.create_topics([NewTopic(topic, 3, 1)])
        error = await published_by(pipeline)
        assert isinstance(error, TopicUnfitError)
        assert "--partition-by-tag PREFIX" in str(error)
        status = await read_status(
            outbox_of(pipeline.application), wire_of(pipeline.application), pipeline.settings
        )
        assert status.position == 0
