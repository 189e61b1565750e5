"""One run: the curtain, the faults at their times, the end of all faults, and the reckoning."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio
from aiokafka.errors import KafkaError
from anyio import to_thread

from eventsourcing_kafka.compose.servers.processes import tail
from eventsourcing_kafka.compose.stack.sample import DATABASES
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.logs import noise
from tests.chaos.reckoning import VIEWS, Reckoning
from tests.chaos.stage import Stage
from tests.chaos.witness import depose, judge, told
from tests.history.reading import read_topic

SETTLE_SECONDS = 120.0
ANSWER_SECONDS = 0.1
SIGHT_SECONDS = 5.0
SIGHT_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Step:
    """A fault at its time."""

    at: float
    fault: Fault
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a run has done, and what it has found."""

    faults: Counter[str]
    events: int
    findings: list[str]


def schedule(
    seed: int, seconds: float, pause: float, faults: Sequence[Fault] = FAULTS
) -> Iterator[Step]:
    """Yield all faults in a random order, again and again; `pause` seconds apart on average."""
    chance, at = Random(seed), 0.0
    while True:
        for fault in chance.sample(faults, len(faults)):
            at += chance.uniform(0, 2 * pause)
            if at > seconds:
                return
            yield Step(at, fault, chance.getrandbits(32))


async def run(
    folder: Path,
    seed: int,
    seconds: float,
    *,
    pause: float,
    say: Callable[[str], None],
    brokers: int = 1,
    retention: float | None = None,
    faults: Sequence[Fault] = FAULTS,
) -> Outcome:
    """Run, and tell what happens; with a `retention`, Kafka keeps events for so many seconds."""
    say(f"seed {seed}: {seconds:.0f} s of faults; logs in {folder}")
    async with Stage(folder, say, brokers=brokers, retention=retention) as stage:
        stage.raise_curtain(Random(seed))
        async with anyio.create_task_group() as witness:
            if retention is not None:
                witness.start_soon(_see_what_goes, stage)
            await _unleash(stage, list(schedule(seed, seconds, pause, faults)))
            events = await _reckon(stage)
            witness.cancel_scope.cancel()
        await _hear(stage)
    for log in sorted({actor.log for actor in stage.actors}):
        for line in noise(log):
            stage.complain(f"{log.stem} said: {line}")
    return Outcome(stage.faults, events, stage.findings)


async def _see_what_goes(stage: Stage) -> None:
    """Log what is in the topic, again and again: in the end it is deleted."""
    while True:
        # Of a topic that is not there a client asks for ever.
        with anyio.move_on_after(SIGHT_SECONDS), suppress(KafkaError):
            servers, (topic, _) = stage.environment["KAFKA_BOOTSTRAP_SERVERS"], stage.topics[-1]
            async for found in read_topic(servers, topic, complete=False):
                stage.journal.write(found)
        await anyio.sleep(SIGHT_PAUSE_SECONDS)


async def _unleash(stage: Stage, steps: list[Step]) -> None:
    """Let every fault happen at its time, whatever else is broken then."""
    began = anyio.current_time()
    async with anyio.create_task_group() as faults:
        for step in steps:
            await anyio.sleep_until(began + step.at)
            faults.start_soon(_commit, step, stage)
        faults.cancel_scope.deadline = anyio.current_time() + SETTLE_SECONDS
    for server in stage.servers:
        # Its restart may be among what did not come to an end.
        await server.start()
        while not await server.is_ready():  # noqa: ASYNC110 - it notifies nobody
            await anyio.sleep(ANSWER_SECONDS)
    stage.say("no more faults")


async def _commit(step: Step, stage: Stage) -> None:
    name = step.fault.__name__
    stage.say(name)
    stage.faults[name] += 1
    try:
        await step.fault(stage, Random(step.seed))
    except anyio.get_cancelled_exc_class():
        stage.complain(f"{name} did not come to an end")
        raise


async def _reckon(stage: Stage) -> int:
    """Compare everything once it has settled; return how many events there were."""
    for writer in stage.writers:
        await writer.retire()
    reckoning = await to_thread.run_sync(Reckoning, stage.environment)
    try:
        await _settle(stage, reckoning)
        async for difference in reckoning.differences():
            stage.complain(difference)
        events = await reckoning.events()
    finally:
        await to_thread.run_sync(reckoning.close)
    for actor in stage.consumers + stage.relays:
        await actor.retire()
    stage.say(f"reckoned: {events} events")
    return events


async def _hear(stage: Stage) -> None:
    """Have the history checked of what every process did, with what a witness sees at the end."""
    dsns = {view: stage.postgres.dsn(DATABASES[view.upper()]) for view in VIEWS}
    servers = stage.environment["KAFKA_BOOTSTRAP_SERVERS"]
    await depose(stage.journal, servers, stage.topics, dsns)
    verdict = await to_thread.run_sync(judge, stage.history)
    for anomaly in told(verdict):
        stage.complain(anomaly)
    stage.say(f"the history was checked: {verdict.compared}")


async def _settle(stage: Stage, reckoning: Reckoning) -> None:
    """Wait until everything is published and applied, as it must be in a bounded time."""
    with anyio.move_on_after(SETTLE_SECONDS):
        await reckoning.settled()
        stage.say("settled")
        return
    stage.complain(f"not settled after {SETTLE_SECONDS} s:\n{await reckoning.what_is_missing()}")
    for actor in stage.relays + stage.consumers:
        stage.say(f"{actor.name} said last:\n{tail(actor.log)}")
