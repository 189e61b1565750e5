"""The commands of the activity view."""

from __future__ import annotations

import os

import typer

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.activity.queries import (
    Contributor,
    EditedPage,
    RecentChange,
)
from eventsourcing_kafka.consumer.views.activity.queries import changes as select_changes
from eventsourcing_kafka.consumer.views.activity.queries import contributors as select_contributors
from eventsourcing_kafka.consumer.views.activity.queries import pages as select_pages
from eventsourcing_kafka.consumer.views.activity.view import VIEW
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.output import AsJson, Limit, show

COMMANDS = typer.Typer()


@COMMANDS.command()
def changes(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show who changed which page when, the newest first.

    Example: eventsourcing-kafka consumer changes --limit 5
    """
    rows = finished(lambda: select_changes(_store(), limit))
    show(rows, RecentChange, as_json=as_json)


@COMMANDS.command()
def contributors(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show who changed pages, the busiest first.

    Example: eventsourcing-kafka consumer contributors --json
    """
    rows = finished(lambda: select_contributors(_store(), limit))
    show(rows, Contributor, as_json=as_json)


@COMMANDS.command()
def pages(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show which pages were changed, the busiest first.

    Example: eventsourcing-kafka consumer pages
    """
    rows = finished(lambda: select_pages(_store(), limit))
    show(rows, EditedPage, as_json=as_json)


def _store() -> ViewStore:
    return ViewStore.of(VIEW, os.environ)
