"""What the product's commands do is logged whole: the history of a quiet run is compared, clean."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGTERM

import pytest
from anyio import to_thread

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import SupervisedProcess
from tests.chaos.observed import HISTORY, NAME, OBSERVED, journal_of
from tests.chaos.witness import depose, judge, told
from tests.chaos.writer import observe
from tests.history.anomalies import Kind
from tests.history.checking import Verdict, check
from tests.history.entries import Change, Changed, History
from tests.pipeline import RELAY, Pipeline

PAGES = ("one", "two", "three")


@pytest.fixture
def watched(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The settings of a pipeline whose processes log what they do."""
    return {**environment, HISTORY: str(tmp_path / "history"), NAME: "writer"}


@asynccontextmanager
async def running(
    log: Path, environment: Mapping[str, str], *command: str
) -> AsyncIterator[SupervisedProcess]:
    """Keep a command running meanwhile, observed."""
    named = {**environment, NAME: "-".join(command)}
    process = await SupervisedProcess.start(
        [sys.executable, "-m", OBSERVED, *command], log=log, env=named
    )
    try:
        yield process
    finally:
        code = await process.end(SIGTERM, 20)
    assert code == 0


async def history_of(watched: dict[str, str], postgres: Postgres, folder: Path) -> Verdict:
    """Write, publish and apply some pages, replay them, and check the history of it all."""
    journal = journal_of({**watched, NAME: "end"})
    async with Pipeline(watched, consumers=0, relay=False) as pipeline:
        observe(pipeline.wiki, journal_of(watched))
        async with (
            running(folder / "relay.log", watched, *RELAY),
            running(folder / "consumer.log", watched, "consumer", "run", "fts"),
        ):
            for slug in PAGES:
                await pipeline.write(slug, "first\n", "second\n")
            await pipeline.settled()
            async with running(
                folder / "replay.log", watched, "consumer", "replay", "fts", "--yes"
            ) as replay:
                await replay.wait()
            await pipeline.settled()
    topic = f"{watched['KAFKA_TOPIC_PREFIX']}contentmanagement.events"
    dsns = {"fts": postgres.dsn(watched["FTS_POSTGRES_DBNAME"])}
    await depose(journal, watched["KAFKA_BOOTSTRAP_SERVERS"], [(topic, True)], dsns)
    return await to_thread.run_sync(judge, Path(watched[HISTORY]))


@pytest.mark.usefixtures("programs")
async def test_a_quiet_run_is_logged_whole_and_clean(
    watched: dict[str, str], postgres: Postgres, tmp_path: Path
) -> None:
    verdict = await history_of(watched, postgres, tmp_path)
    assert list(told(verdict)) == []

    history = History.read(Path(watched[HISTORY]))
    assert [entry.what for _, entry in history.of(Changed)] == [Change.REPLAY]
    count = verdict.compared["events written"]
    assert verdict.compared["records found"] == verdict.compared["records sent"] == count > 0
    assert verdict.compared["records applied"] == 2 * count

    # Without what permits it, a replay is what it looks like; without its relay, a topic is, too.
    assert kinds(history, lambda name: "replay" not in name) == {Kind.DUPLICATE}
    assert kinds(history, lambda name: "relay" in name or "end" in name) >= {Kind.SKIPPED_POSITION}


def kinds(history: History, keeping: Callable[[str], bool]) -> set[Kind]:
    logs = {name: log for name, log in history.logs.items() if keeping(name)}
    return {anomaly.kind for anomaly in check(History(logs)).anomalies}
