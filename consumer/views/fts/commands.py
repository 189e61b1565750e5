"""The command of the search view."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.fts.search import MOST_RANKED, START, STOP, SearchResult
from eventsourcing_kafka.consumer.views.fts.search import search as search_pages
from eventsourcing_kafka.consumer.views.fts.view import VIEW
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.output import AsJson
from eventsourcing_kafka.producer.runtime.printable import printable

COMMANDS = typer.Typer()


@COMMANDS.command()
def search(
    query: Annotated[str, typer.Argument(help='Words, "a phrase", rose OR zebra, -without.')],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Pages to show.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Pages to leave out before.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Search the wiki's pages, the best match first.

    Of a query that very many pages match, 1000 of them are ranked, and of those whose titles
    match as many; the rest is not among the results. One more word gets you below that.

    Example: eventsourcing-kafka consumer search "rose OR zebra"
    """
    store = ViewStore.of(VIEW, os.environ)
    results = finished(lambda: search_pages(store, query, limit=limit, offset=offset))
    if as_json:
        typer.echo(msgspec.json.encode(results))
        return
    console = Console(highlight=False)
    for result in results:
        stale = Text("  (stale: an event of it is parked)" if result.stale else "", "red")
        console.print(Text(result.slug, "bold cyan"), _marked(result.title_marked), stale)
        console.print("   ", _marked(" ".join(result.snippet.split())))
    console.print(_counted(results, offset))


def _counted(results: Sequence[SearchResult], offset: int) -> Text:
    if not results:
        return Text("no further page matches" if offset else "no page matches")
    shown = f"{offset + 1} to {offset + len(results)}"
    matches = results[0].matches
    many = f"{matches} or more" if matches == MOST_RANKED else f"{matches}"
    return Text(f"{shown} of {many}", "dim")


def _marked(text: str) -> Text:
    marked = Text()
    for part in text.split(START):
        found, stop, rest = part.partition(STOP)
        marked.append(printable(found), "bold yellow" if stop else "").append(printable(rest))
    return marked
