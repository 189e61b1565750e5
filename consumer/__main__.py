"""The commands of the read side: `python -m consumer --help`."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import anyio
import msgspec
import psycopg
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from consumer.consumer import Consumer
from consumer.fts.search import START, STOP, ViewMissingError
from consumer.fts.search import search as search_pages
from consumer.status import PartitionStatus, read_status
from consumer.subscription import RecordsDeletedError
from consumer.view import CannotApplyError, ShapeChangedError, View, ViewStore
from consumer.views import view_named, views
from producer.wire import KafkaSettings
from producer.wire.endurance import run as run_async

app = typer.Typer(
    no_args_is_help=True,
    help="The read side: keep views up to date from Kafka, search them, see how far they are.\n\n"
    "Settings are the eventsourcing library's, prefixed with the view's name "
    "(FTS_POSTGRES_DBNAME), and Kafka's (KAFKA_BOOTSTRAP_SERVERS, KAFKA_GROUP_PREFIX). "
    'Those of a stack on this machine: eval "$(python -m compose env)"',
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _complete(incomplete: str) -> list[str]:
    return [name for name in views() if name.startswith(incomplete)]


@app.command()
def run(
    names: Annotated[
        list[str],
        typer.Argument(metavar="VIEW…", help="Which views.", autocompletion=_complete),
    ],
    batch_size: Annotated[
        int, typer.Option(min=1, help="Records in one Postgres transaction, at most.")
    ] = 5000,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that a batch in hand has when told to stop.")
    ] = 10.0,
) -> None:
    """Keep views up to date until it is stopped.

    Start it as often as you like, on any machine: the consumers of a view share its partitions.

    Example: python -m consumer run fts
    """
    settings = KafkaSettings.from_env(os.environ)
    stores = [_store(view_named(name)) for name in names]

    async def main() -> None:
        async with anyio.create_task_group() as consumers:
            for store in stores:
                consumer = Consumer(store, settings, limit=batch_size, grace=grace)
                consumers.start_soon(consumer.run, name=store.view.name)

    run_async(main)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help='Words, "a phrase", rose OR zebra, -without.')],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Pages to show.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Pages to leave out before.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search the wiki's pages, the best match first.

    Example: python -m consumer search "rose OR zebra"
    """
    store = _store(view_named("fts"))
    results = run_async(lambda: search_pages(store, query, limit=limit, offset=offset)) or []
    if as_json:
        typer.echo(msgspec.json.encode(results))
        return
    console = Console()
    for result in results:
        console.print(f"[bold cyan]{escape(result.slug)}[/]  {_marked(result.title_marked)}")
        console.print(f"    {' '.join(_marked(result.snippet).split())}", highlight=False)
    if not results:
        console.print("no page matches")


@app.command()
def status(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIEW]…", help="Which views; all without.", autocompletion=_complete
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how far views are, partition by partition.

    The gap is in Kafka offsets, the lag in seconds: the age of the oldest event not applied.

    Example: python -m consumer status fts
    """
    settings = KafkaSettings.from_env(os.environ)
    stores = [_store(view_named(name)) for name in names or sorted(views())]

    async def read() -> list[PartitionStatus]:
        return [row for store in stores for row in await read_status(store, settings)]

    rows = run_async(read) or []
    if as_json:
        typer.echo(msgspec.json.encode(rows))
        return
    table = Table(*PartitionStatus.__struct_fields__)
    for row in rows:
        table.add_row(*(_cell(value) for value in msgspec.structs.astuple(row)))
    Console().print(table)


def _store(view: View) -> ViewStore:
    return ViewStore.of(view, os.environ)


def _marked(text: str) -> str:
    return escape(text).replace(START, "[bold yellow]").replace(STOP, "[/]")


def _cell(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run a command; an error that a person can settle is one line, and exit code 1."""
    console = Console(stderr=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        datefmt="[%X]",
        handlers=[RichHandler(console=console, show_path=False)],
    )
    # What it reports of a lost server is said once, by us.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        app()
    except (
        CannotApplyError,
        KafkaError,
        OSError,
        RecordsDeletedError,
        ShapeChangedError,
        ValueError,
        ViewMissingError,
        psycopg.Error,
    ) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
