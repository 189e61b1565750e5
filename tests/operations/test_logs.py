"""Whatever fails, no log and no error line quotes an event, or a secret."""

import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.redrive import parked_events
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from tests.consumer.test_command_line import run
from tests.pipeline import RELAY, SECONDS, Pipeline

from .child import Child, child
from .poison import Event, record_of
from .test_commands import TWO, page_in, produce

BODY = "the-body-of-the-page"
SECRET = "the-wrong-password"
AS_JSON = {"LOG_FORMAT": "json"}


def contents(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in folder.glob("*.log")}


def messages(log: str) -> str:
    """Return what was logged for machines; anything else in the log is an error."""
    entries = [json.loads(line) for line in log.splitlines()]
    assert all(entry.keys() >= {"time", "level", "logger", "message"} for entry in entries)
    return "\n".join(entry["message"] for entry in entries)


@pytest.mark.usefixtures("programs")
async def test_no_log_and_no_error_line_quotes_an_event_or_a_secret(
    environment: dict[str, str], postgres: Postgres, tmp_path: Path
) -> None:
    activity = ViewStore.of(ACTIVITY, environment)
    async with (
        Pipeline(environment | TWO, consumers=0, relay=False) as pipeline,
        AsyncExitStack() as children,
    ):

        async def start(name: str, *command: str, **settings: str) -> Child:
            given = pipeline.environment | settings
            log = tmp_path / f"{name}.log"
            process = child(given, log, *command, module="eventsourcing_kafka")
            return await children.enter_async_context(process)

        relay = await start("relay", *RELAY, **AS_JSON)
        fts = await start("fts", "consumer", "run", "fts", "--on-error", "stop")
        other = await start("activity", "consumer", "run", "activity", "--log-format", "json")
        lost = await start(
            "lost", "consumer", "run", "fts", FTS_POSTGRES_PASSWORD=SECRET, **AS_JSON
        )
        wrong = {"CONTENTMANAGEMENT_POSTGRES_PASSWORD": SECRET}
        refused = await start("refused", *RELAY, **wrong, **AS_JSON)

        slug, sick_id = await page_in(pipeline, 0, BODY)
        await pipeline.settled()
        async with pipeline.store.connected() as connection:
            # Postgres' own error will quote the row, with all of the page in it.
            refusing = "ALTER TABLE {schema}.pages ADD CHECK (title <> 'refused')"
            await connection.execute(pipeline.store.sql(refusing))
        await pipeline.do(pipeline.wiki.update_body, slug, BODY)
        position = await pipeline.do(pipeline.wiki.update_title, slug, "refused")
        await activity.wait(position, sick_id, seconds=SECONDS)
        await fts.says("partition 0 has stopped")
        await produce(pipeline, record_of(Event(sick_id, 5, 0, {}))._replace(value=BODY.encode()))
        await other.says("1 events parked")
        await lost.says("waiting for its server")
        await end(fts)
        ended = await run(
            pipeline.environment | AS_JSON, "consumer", "run", "fts", "--on-error", "raise"
        )
        await refused.says("waiting for its server")
        for process in (relay, other, lost, refused):
            await end(process)

        (parked,) = await parked_events(activity)
        (row, _) = await pipeline.progress()

    logs = contents(tmp_path)
    assert "view fts has ended: CheckViolation (partition 0" in messages(ended.stderr.decode())
    assert "publishing after position 0" in messages(logs["relay"])
    assert "password authentication failed" in messages(logs["lost"])
    assert "password authentication failed" in messages(logs["refused"])
    assert "events parked" in messages(logs["activity"])
    # Who may read the view is told all.
    assert BODY in str(row.stopped)
    assert parked.value == BODY.encode()
    said = [*logs.values(), ended.stderr.decode(), postgres.log.read_text()]
    for words in (BODY, SECRET, postgres.password):
        assert not [log for log in said if words in log]


async def end(process: Child) -> None:
    process.send(signal.SIGTERM)
    await process.ends()
