"""What can be done to a server's data behind everybody's back, and be undone."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import LiteralString

import anyio
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from anyio import to_thread
from psycopg import sql

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.producer.kafka.clients import started

PAUSE_SECONDS = 0.3

CREATE_FULL_DISK: LiteralString = """
    CREATE FUNCTION public.disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device'
              USING ERRCODE = 'disk_full';
    END $$
"""

FILL_DISK: LiteralString = """
    CREATE TRIGGER disk_is_full BEFORE INSERT OR UPDATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION public.disk_is_full()
"""

# Wherever a rebuild has moved the table meanwhile.
FREE_DISK: LiteralString = "DROP FUNCTION IF EXISTS public.disk_is_full() CASCADE"

LOCK_EVENTS: LiteralString = "LOCK TABLE contentmanagement_events IN EXCLUSIVE MODE"

SET_ASIDE: LiteralString = """
    CREATE TABLE set_aside AS
    SELECT * FROM contentmanagement_events ORDER BY notification_id DESC LIMIT {count}
"""

DELETE_SET_ASIDE: LiteralString = """
    DELETE FROM contentmanagement_events
     WHERE notification_id >= (SELECT min(notification_id) FROM set_aside)
"""

# Behind holes, too, which writers leave that were killed: what it grows by is to go again.
SET_SEQUENCE_BACK: LiteralString = """
    SELECT setval(pg_get_serial_sequence('contentmanagement_events', 'notification_id'),
                  (SELECT min(notification_id) FROM set_aside), false)
"""

SET_SEQUENCE: LiteralString = """
    SELECT setval(pg_get_serial_sequence('contentmanagement_events', 'notification_id'),
                  (SELECT greatest(1, max(notification_id)) FROM contentmanagement_events))
"""

# More of them than were set aside, of the same contents, and of other aggregates.
GROW: LiteralString = """
    INSERT INTO contentmanagement_events (originator_id, originator_version, topic, state)
    SELECT gen_random_uuid(), 1, topic, state FROM set_aside, generate_series(1, 2)
"""

PUT_FORWARD: LiteralString = "INSERT INTO contentmanagement_events SELECT * FROM set_aside"


@asynccontextmanager
async def full_disk(dsn: str, schema: str, table: str) -> AsyncIterator[bool]:
    """Have a table take nothing meanwhile; yield whether there is one."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        try:
            async with connection.transaction():
                await connection.execute(CREATE_FULL_DISK)
                named = sql.Identifier(schema, table)
                await connection.execute(sql.SQL(FILL_DISK).format(table=named))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            yield False
            return
        try:
            yield True
        finally:
            with anyio.CancelScope(shield=True):
                await connection.execute(FREE_DISK)


@asynccontextmanager
async def put_back(dsn: str, count: int, *, grown: bool = False) -> AsyncIterator[bool]:
    """Have a write model as it was so many events ago meanwhile; yield whether it had any.

    If it has `grown`, it has got other events since, more than there were.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        async with connection.transaction():
            await connection.execute(LOCK_EVENTS)
            statement = sql.SQL(SET_ASIDE).format(count=sql.Literal(count))
            some = (await connection.execute(statement)).rowcount
            await connection.execute(DELETE_SET_ASIDE)
            if some:
                await connection.execute(SET_SEQUENCE_BACK)
            if grown:
                await connection.execute(GROW)
        try:
            yield some > 0
        finally:
            with anyio.CancelScope(shield=True):
                async with connection.transaction():
                    # What was written meanwhile is of no history.
                    await connection.execute(LOCK_EVENTS)
                    await connection.execute(DELETE_SET_ASIDE)
                    await connection.execute(PUT_FORWARD)
                    await connection.execute(SET_SEQUENCE)
                    await connection.execute("DROP TABLE set_aside")


@asynccontextmanager
async def earlier_copy(broker: Kafka) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Copy a broker's log folder, while it is down for a moment.

    Yield what puts the copy in its place: the broker is to be down again for that.
    """
    storage, copy = broker.data / "storage", broker.data / "earlier"

    async def put_back_copy() -> None:
        await to_thread.run_sync(shutil.rmtree, storage)
        await to_thread.run_sync(shutil.copytree, copy, storage)

    await broker.kill()
    await to_thread.run_sync(shutil.copytree, storage, copy)
    await broker.start()
    try:
        yield put_back_copy
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(shutil.rmtree, copy)


async def delete_topics(servers: str, topics: Sequence[str]) -> None:
    """Delete topics, however often it takes; one that is not there is left at that."""
    left = list(topics)
    while left:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        try:
            await admin.start()
            response = await admin.delete_topics(left)
            codes = dict(response.topic_error_codes)
            gone = {0, UnknownTopicOrPartitionError.errno}
            left = [topic for topic in left if codes[topic] not in gone]
            for topic in left:
                raise for_code(codes[topic])(topic)
        except KafkaError:
            await anyio.sleep(PAUSE_SECONDS)
        finally:
            await admin.close()


async def delete_records(
    servers: str, topic: str, before: Callable[[int, int], int] = lambda _, end: end
) -> None:
    """Delete a topic's first records, as retention does: all, or those before an offset.

    `before` is given a partition, and where that ends. Raises `KafkaError` if Kafka does not.
    """
    async with started(AIOKafkaAdminClient(bootstrap_servers=servers)) as admin:
        (described,) = await admin.describe_topics([topic])
        partitions = [TopicPartition(topic, each["partition"]) for each in described["partitions"]]
        async with started(AIOKafkaConsumer(bootstrap_servers=servers)) as consumer:
            ends = await consumer.end_offsets(partitions)
        await admin.delete_records(
            {at: RecordsToDelete(before(at.partition, end)) for at, end in ends.items()}
        )
