"""The demo: a git history becomes a wiki, goes through Kafka, is searched, and verified."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString

import anyio
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from eventsourcing_kafka.compose.audit.audit import audit
from eventsourcing_kafka.compose.audit.display import show
from eventsourcing_kafka.compose.servers.kafka import tool_command
from eventsourcing_kafka.compose.stack.parts import WEB, parts
from eventsourcing_kafka.compose.stack.stack import Stack
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.status import gap_of
from eventsourcing_kafka.consumer.operations.status import read_status as read_view_status
from eventsourcing_kafka.consumer.views.fts.search import START, STOP, search
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import Outbox, outbox_of
from eventsourcing_kafka.producer.relay import read_status as read_relay_status
from eventsourcing_kafka.producer.runtime.applications import open_reached
from eventsourcing_kafka.producer.runtime.cli import progress_console
from eventsourcing_kafka.producer.wire import WireFormat

NEXT = (
    "Next, an application of your own\n"
    "    docs/TUTORIAL.md                   leads from one to two views of it\n"
    "    eventsourcing-kafka compose check  says what is wrong with a pipeline.toml\n"
    "    eventsourcing-kafka compose up     runs it, with a window on it"
)

POLL_SECONDS = 0.5
SEARCHES = 3

# Words that some pages have, but not most: they make a search worth looking at.
TELLING_WORDS: LiteralString = """
    SELECT word
      FROM ts_stat('SELECT to_tsvector(''simple'', left(body, 20000))
                      FROM {schema}.pages LIMIT 200')
     WHERE word ~ '^[a-z]{{6,12}}$'
     ORDER BY abs(ndoc - 5), nentry DESC
     LIMIT %s
"""


async def demo(repository: Path, console: Console) -> int:
    """Run the demo; return the exit code: 0 if every page is identical in model and view."""
    _say("Starting Kafka, Postgres, the relay and the consumers")
    async with Stack(only=[name for name in parts() if name != WEB]) as stack:
        environment = stack.environment()
        _say(f"Importing the history of {repository}")
        code = await _run(
            [
                sys.executable,
                "-m",
                "eventsourcing_kafka",
                "producer",
                "import-git",
                str(repository),
            ],
            environment,
        )
        if code:
            return code
        wiki = await open_reached(ContentManagement, environment)
        store = ViewStore.of(view_named("fts"), environment)
        settings = KafkaSettings.from_env(environment)
        _say("Waiting until the search view has caught up")
        wire = WireFormat.of(wiki)
        await _caught_up(outbox_of(wiki), wire, store, settings)
        _say("Searching")
        await _search(store, console)
        _say("The consumer group, as Kafka's own tool shows it")
        await _run(
            tool_command(
                "consumer-groups",
                ["--describe", "--group", "fts"],
                lambda: settings.bootstrap_servers,
            ),
            environment,
        )
        _say("Comparing every page of the write model with the view")
        code = await _verify(environment, console)
    _say(NEXT)
    return code


async def _caught_up(
    outbox: Outbox, wire: WireFormat, store: ViewStore, settings: KafkaSettings
) -> None:
    """Wait until all is published and applied, and show how far it is."""
    with Progress(console=progress_console()) as progress:
        relayed = progress.add_task("published", total=None)
        applied = progress.add_task("applied", total=None)
        while True:
            relay = await read_relay_status(outbox, wire, settings)
            view = await read_view_status(store, settings)
            offsets, gap = sum(row.offset for row in view), gap_of(view)
            progress.update(relayed, completed=relay.position, total=relay.head)
            progress.update(applied, completed=offsets, total=offsets + (gap or 0))
            if view and not relay.gap and gap == 0:
                return
            await anyio.sleep(POLL_SECONDS)


async def _search(store: ViewStore, console: Console) -> None:
    async with store.connected() as connection:
        cursor = await connection.execute(store.sql(TELLING_WORDS), [SEARCHES])
        words = [word for (word,) in await cursor.fetchall()]
    for query in [*words, " OR ".join(words)]:
        console.print(f'  eventsourcing-kafka consumer search "{query}"', style="bold")
        for result in await search(store, query, limit=2):
            snippet = " ".join(result.snippet.replace(START, "»").replace(STOP, "«").split())
            console.print(f"    {result.slug}: {snippet}", markup=False, soft_wrap=True)


async def _verify(environment: Mapping[str, str], console: Console) -> int:
    report = await audit(environment, ["fts"])
    show(report, console)
    if not report.success:
        return 1
    identical = report.views[0].rows["pages"]
    console.print(f"verified: {identical} pages identical in the write model and the search view")
    return 0


async def _run(command: list[str], environment: Mapping[str, str]) -> int:
    async with await anyio.open_process(
        command, stdin=None, stdout=None, stderr=None, env={**os.environ, **environment}
    ) as process:
        return await process.wait()


def _say(text: str) -> None:
    progress_console().print(Text.assemble("\n", ("==> ", "bold green"), (text, "bold")))
