"""What can go wrong, each as a function: it breaks something, and mends it again."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from random import Random
from signal import SIGKILL, SIGTERM
from typing import Any

import anyio
from aiokafka.errors import KafkaError

from eventsourcing_kafka.compose.servers.server import Server
from eventsourcing_kafka.compose.stack.sample import DATABASES
from tests.chaos.actor import Actor
from tests.chaos.damage import delete_records, delete_topics, earlier_copy, full_disk, put_back
from tests.chaos.proxy import Api, Proxy
from tests.chaos.stage import CONSUMER, EVENTS, POSITION, SESSION_TIMEOUT_SECONDS, Stage
from tests.history.entries import Change
from tests.history.reading import read_topic

Fault = Callable[[Stage, Random], Coroutine[Any, Any, None]]

TURN_SECONDS = 5.0
"""After so long without a word a relay loses its turn."""

LATE = [*Api, Api.PRODUCE, Api.ADD_PARTITIONS_TO_TXN, Api.END_TXN, Api.END_TXN]
"""What may be late: those of a transaction more often."""

CATCH_SECONDS = 5.0
"""So long a request of a kind is waited for, to be held back."""

RESTORED = "restored from a backup"
GOES_ON = "publishing after position"
"""What a relay says that has found the write model to be that of the topic."""
LOOK_SECONDS = 0.2
DELETE_SECONDS = 30.0
"""Within so many Kafka tells what it has, and deletes it, or it is let alone."""
REFUSAL_SECONDS = 30.0
"""Within so many a relay that is started has read what it must refuse."""


async def kill_a_relay(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.relays).end(SIGKILL)


async def stop_a_relay(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.relays).end(SIGTERM)


async def freeze_a_relay(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.relays).freeze(TURN_SECONDS + chance.uniform(0, 4))


async def kill_a_consumer(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.consumers).end(SIGKILL)


async def stop_a_consumer(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.consumers).end(SIGTERM)


async def freeze_a_consumer(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.consumers).freeze(SESSION_TIMEOUT_SECONDS + chance.uniform(0, 5))


async def kill_a_writer(stage: Stage, chance: Random) -> None:
    await chance.choice(stage.writers).end(SIGKILL)


async def a_consumer_joins_and_leaves(stage: Stage, chance: Random) -> None:
    guest = stage.actor(f"guest-{chance.getrandbits(16):x}", *CONSUMER)
    async with anyio.create_task_group() as visit:
        visit.start_soon(guest.once)
        await anyio.sleep(chance.uniform(3, 8))
        await guest.end(chance.choice([SIGTERM, SIGKILL]))


async def cut_kafka_off(stage: Stage, chance: Random) -> None:
    chance.choice(stage.kafka_proxies).cut(refuse_for=chance.choice([0, 1, 4]))


async def cut_postgres_off(stage: Stage, chance: Random) -> None:
    stage.postgres_proxy.cut(refuse_for=chance.choice([0, 1, 4]))


async def silence_kafka(stage: Stage, chance: Random) -> None:
    await _silence(chance.choice(stage.kafka_proxies), chance)


async def silence_postgres(stage: Stage, chance: Random) -> None:
    await _silence(stage.postgres_proxy, chance)


async def _silence(proxy: Proxy, chance: Random) -> None:
    """Hold up what is on its way, and then let it through or lose it."""
    async with proxy.silence(answers_only=chance.random() < 0.5):
        await anyio.sleep(chance.uniform(0.5, 8))
        if chance.random() < 0.5:
            proxy.cut()


async def restart_kafka(stage: Stage, chance: Random) -> None:
    broker = chance.choice(stage.brokers)
    await _restart(stage, broker, broker.stop, chance)


async def kill_kafka(stage: Stage, chance: Random) -> None:
    broker = chance.choice(stage.brokers)
    await _restart(stage, broker, broker.kill, chance)


async def crash_postgres(stage: Stage, chance: Random) -> None:
    await _restart(stage, stage.postgres, lambda: stage.postgres.stop(immediate=True), chance)


async def kill_postgres(stage: Stage, chance: Random) -> None:
    await _restart(stage, stage.postgres, stage.postgres.kill, chance)


async def _restart(
    stage: Stage, server: Server, end: Callable[[], Awaitable[None]], chance: Random
) -> None:
    async with stage.restarting:
        if server is stage.postgres:
            stage.change(Change.DATABASE_CRASH)
        await end()
        await anyio.sleep(chance.choice([0, 0, 3]))
        await server.start()
        stage.say(f"{server.name} is back")


async def replay_activity(stage: Stage, chance: Random) -> None:
    await stage.errand("consumer", "replay", "activity", "--yes").done()


async def replay_a_partition_of_fts(stage: Stage, chance: Random) -> None:
    partition = str(chance.randrange(6))
    await stage.errand("consumer", "replay", "fts", "--partition", partition, "--yes").done()


async def rebuild_a_view(stage: Stage, chance: Random) -> None:
    view = chance.choice(["fts", "activity"])
    keep = chance.choice([["--keep"], []])
    if stage.rebuilding[view].locked():
        return  # One at a time: they would queue up.
    async with stage.rebuilding[view]:
        await stage.errand("consumer", "rebuild", view, "--yes", *keep).done()
        if keep:
            await anyio.sleep(chance.uniform(0, 3))
            await stage.errand("consumer", "rebuild", view, "--yes", "--swap-back").done()


async def kill_a_rebuild(stage: Stage, chance: Random) -> None:
    view = chance.choice(["fts", "activity"])
    if stage.rebuilding[view].locked():
        return  # One at a time: they would queue up.
    async with stage.rebuilding[view]:
        errand = stage.errand("consumer", "rebuild", view, "--yes")
        async with anyio.create_task_group() as both:
            both.start_soon(errand.done)
            await anyio.sleep(chance.uniform(1.5, 4))
            await errand.end(SIGKILL)


async def fill_the_disk_under_a_view(stage: Stage, chance: Random) -> None:
    """Have Postgres refuse what a view writes, with the error that a full disk has.

    To fill one really takes rights that not everybody has.
    """
    view, table = chance.choice([("fts", "pages"), ("activity", "changes")])
    if stage.restarting.locked():
        return  # One at a time: they would queue up.
    async with (
        stage.restarting,
        full_disk(stage.postgres.dsn(DATABASES[view.upper()]), view, table),
    ):
        await anyio.sleep(chance.uniform(1, 8))


async def put_the_write_model_back(stage: Stage, chance: Random) -> None:
    """Restore a backup, see that no relay publishes from it, and put everything forward again."""
    await _restore(stage, chance, grown=False)


async def put_a_write_model_back_that_grows(stage: Stage, chance: Random) -> None:
    """Do the same, and have it written to, past what Kafka has, before a relay sees it."""
    await _restore(stage, chance, grown=True)


async def _restore(stage: Stage, chance: Random, *, grown: bool) -> None:
    if stage.restarting.locked() or stage.restoring.locked():
        return  # One at a time: they would queue up.
    async with AsyncExitStack() as relays:
        async with stage.restarting, stage.restoring, AsyncExitStack() as writers:
            for writer in stage.writers:
                await writers.enter_async_context(writer.resting())
            if not await _all_is_published(stage):
                return
            refused = [
                await relays.enter_async_context(relay.expected_to_say(RESTORED))
                for relay in stage.relays
            ]
            dsn = stage.postgres.dsn(DATABASES["CONTENTMANAGEMENT"])
            await _see_refused(stage, refused, put_back(dsn, chance.randint(1, 50), grown=grown))
        await anyio.sleep(REFUSAL_SECONDS / 3)  # One may still be on its way out.


async def _all_is_published(stage: Stage) -> bool:
    """Wait until Kafka has all that the write model has; False if it takes too long."""
    status = [sys.executable, "-m", "eventsourcing_kafka", "producer", "status", "--json"]
    environment = {**os.environ, **stage.environment}
    with anyio.move_on_after(REFUSAL_SECONDS):
        while True:
            asked = await anyio.run_process(status, env=environment, check=False)
            if asked.returncode == 0 and json.loads(asked.stdout)["gap"] == 0:
                return True
            await anyio.sleep(1)
    return False


async def _see_refused(
    stage: Stage, refused: Sequence[anyio.Event], restored: AbstractAsyncContextManager[bool]
) -> None:
    """Start the relays anew, and wait until one of them refuses to go on.

    Nobody has a connection to a database while it is restored: a relay that went on in its session
    would publish what it has grown by.
    """
    async with AsyncExitStack() as meanwhile:
        async with AsyncExitStack() as relays:
            for relay in stage.relays:
                await relays.enter_async_context(relay.resting())
            said = [relay.log.stat().st_size for relay in stage.relays]
            shorter = await meanwhile.enter_async_context(restored)
        if shorter:
            await _wait_for_refusal(stage, refused, said)


async def _wait_for_refusal(
    stage: Stage, refused: Sequence[anyio.Event], said: Sequence[int]
) -> None:
    """Wait until a relay has ended with its refusal; complain of one that has gone on instead."""

    def gone_on() -> list[Actor]:
        return [
            relay
            for relay, before in zip(stage.relays, said, strict=True)
            if relay.has_said(GOES_ON, since=before)
        ]

    with anyio.move_on_after(REFUSAL_SECONDS):
        while not (gone_on() or any(event.is_set() for event in refused)):  # noqa: ASYNC110
            await anyio.sleep(LOOK_SECONDS)
        for relay in gone_on():
            stage.complain(f"{relay.name} goes on with a write model that was restored")
        return
    # Frozen, or cut off: what one would do is not known.
    stage.say("no relay has come to look at a write model that was restored")


async def deliver_a_request_late(stage: Stage, chance: Random) -> None:
    """Lose a connection, and have the last request on it come through in the middle of more."""
    held = chance.choice(stage.kafka_proxies).hold_back(chance.choice(LATE))
    try:
        with anyio.move_on_after(CATCH_SECONDS):
            await held.caught.wait()
        if held.caught.is_set():
            await anyio.sleep(chance.choice([chance.uniform(0, 0.2), chance.uniform(0, 5)]))
            arrived = await held.deliver()
            stage.say(f"a late {held.api.name} {'arrived' if arrived else 'was lost'}")
    finally:
        await held.give_up()


async def lose_the_last_seconds_of_kafka(stage: Stage, chance: Random) -> None:
    """Have the only broker come back with its log folder as it was some seconds earlier.

    Of several it would not be told from one that lies, and Kafka takes nobody for that.
    """
    if len(stage.brokers) > 1 or stage.restarting.locked():
        return
    (broker,) = stage.brokers
    async with stage.restarting, earlier_copy(broker) as put_back_copy:
        await anyio.sleep(chance.uniform(1, 8))
        stage.change(Change.TOPIC_CHANGE)
        await broker.kill()
        await put_back_copy()
        await broker.start()


async def make_the_topic_anew(stage: Stage, chance: Random) -> None:
    """Delete the topic of events, with that of the position or without; the relay goes on."""
    names = chance.choice([[EVENTS], [EVENTS, POSITION]])
    async with stage.restoring:
        servers = stage.environment["KAFKA_BOOTSTRAP_SERVERS"]
        stage.change(Change.TOPIC_CHANGE, f"{stage.prefix}{EVENTS}")
        await delete_topics(servers, [f"{stage.prefix}{name}" for name in names])


async def delete_what_kafka_has_had(stage: Stage, chance: Random) -> None:
    """Have Kafka delete the beginning of each partition, as retention does, or all of it.

    What goes is read by a witness before, so that it can still be compared in the end.
    """
    async with stage.restoring:
        with anyio.move_on_after(DELETE_SECONDS):
            while not await _is_deleted(stage, chance):  # noqa: ASYNC110 - it may be away
                await anyio.sleep(LOOK_SECONDS)
            return
    stage.say("Kafka has had nothing to delete, or was not there")


async def _is_deleted(stage: Stage, chance: Random) -> bool:
    servers, topic = stage.environment["KAFKA_BOOTSTRAP_SERVERS"], f"{stage.prefix}{EVENTS}"
    read: dict[int, int] = {}
    with suppress(KafkaError):
        async for found in read_topic(servers, topic, complete=False):
            stage.journal.write(found)
            end = max((record.offset + 1 for record in found.records), default=0)
            read[found.partition] = chance.choice([end, chance.randint(0, end)])
        if any(read.values()):
            await delete_records(servers, topic, lambda number, _: read[number])
            stage.say(f"deleted before offsets {list(read.values())}")
            return True
    return False


async def change_the_prefix(stage: Stage, chance: Random) -> None:
    """Have all go on over topics of another prefix, with the databases that they have."""
    async with stage.restoring:
        stage.move_to(f"p{chance.getrandbits(16):x}.")
        for actor in [*stage.relays, *stage.consumers]:
            await actor.end(SIGTERM)


FAULTS: list[Fault] = [
    kill_a_relay,
    stop_a_relay,
    freeze_a_relay,
    kill_a_consumer,
    stop_a_consumer,
    freeze_a_consumer,
    kill_a_writer,
    a_consumer_joins_and_leaves,
    cut_kafka_off,
    cut_postgres_off,
    silence_kafka,
    silence_postgres,
    restart_kafka,
    kill_kafka,
    crash_postgres,
    kill_postgres,
    replay_activity,
    replay_a_partition_of_fts,
    rebuild_a_view,
    kill_a_rebuild,
    fill_the_disk_under_a_view,
    put_the_write_model_back,
    put_a_write_model_back_that_grows,
    deliver_a_request_late,
    lose_the_last_seconds_of_kafka,
    make_the_topic_anew,
    delete_what_kafka_has_had,
    change_the_prefix,
]
