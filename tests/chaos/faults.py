"""What can go wrong, each as a function: it breaks something, and mends it again."""

from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from signal import SIGKILL, SIGTERM
from typing import Any

import anyio

from eventsourcing_kafka.compose.servers.server import Server
from tests.chaos.proxy import Proxy
from tests.chaos.stage import CONSUMER, SESSION_TIMEOUT_SECONDS, Stage
from tests.history.entries import Change

Fault = Callable[[Stage, Random], Coroutine[Any, Any, None]]

TURN_SECONDS = 5.0
"""After so long without a word a relay loses its turn."""


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
    stage.kafka_proxy.cut(refuse_for=chance.choice([0, 1, 4]))


async def cut_postgres_off(stage: Stage, chance: Random) -> None:
    stage.postgres_proxy.cut(refuse_for=chance.choice([0, 1, 4]))


async def silence_kafka(stage: Stage, chance: Random) -> None:
    await _silence(stage.kafka_proxy, chance)


async def silence_postgres(stage: Stage, chance: Random) -> None:
    await _silence(stage.postgres_proxy, chance)


async def _silence(proxy: Proxy, chance: Random) -> None:
    """Hold up what is on its way, and then let it through or lose it."""
    async with proxy.silence(answers_only=chance.random() < 0.5):
        await anyio.sleep(chance.uniform(0.5, 8))
        if chance.random() < 0.5:
            proxy.cut()


async def restart_kafka(stage: Stage, chance: Random) -> None:
    await _restart(stage, stage.kafka, stage.kafka.stop, chance)


async def kill_kafka(stage: Stage, chance: Random) -> None:
    await _restart(stage, stage.kafka, stage.kafka.kill, chance)


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
]
