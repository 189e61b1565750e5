"""A page for one aggregate: its events, how far each view is with them, what is parked and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eventsourcing.dcb.application import DCBApplication
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.auth.forms import operators_only
from eventsourcing_kafka.compose.web.pipeline.actions import number_in, refusal
from eventsourcing_kafka.compose.web.pipeline.window import Window, window_of
from eventsourcing_kafka.compose.web.rendering import render
from eventsourcing_kafka.consumer.engine.parking import Dropped, Parked
from eventsourcing_kafka.consumer.engine.protocol import Again, Store
from eventsourcing_kafka.consumer.engine.store import NOT_THERE, NotReplayableError, replayable
from eventsourcing_kafka.consumer.operations.commands.step import changed_lines, given_up
from eventsourcing_kafka.consumer.operations.history import History
from eventsourcing_kafka.consumer.operations.one_aggregate import steps
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.health import Down
from eventsourcing_kafka.producer.wire.chain import LARGEST_POSITION

MOST_EVENTS = 200
"""The latest ones, on one page."""
LONGEST_ID = 500
STEPS = 50
"""Versions on one page of what they do."""


class Event(NamedTuple):
    """What is stored."""

    position: int
    version: int
    type: str
    state: str
    """As it is stored, if that is text."""


class Followed(NamedTuple):
    """How far a view is with an aggregate."""

    view: str
    position: int | None
    """Up to which it has applied the partition; None while that is not known."""
    parked: Sequence[Parked]
    dropped: Mapping[int, Dropped]
    """By the positions of its events."""

    def verdict(self, event: Event) -> str:
        """Return what has become of an event."""
        if any(parked.position == event.position for parked in self.parked):
            return "parked"
        if event.position in self.dropped:
            return "dropped"
        if self.position is None:
            return "not known"
        return "applied" if event.position <= self.position else "not yet"


@operators_only
async def _aggregate(request: Request) -> Response:
    window = window_of(request)
    application = request.query_params.get("application", "")
    aggregate = _id_in(request)
    if application not in window.sources.heads:
        raise HTTPException(404, "There is no such application.")
    with window.poller.watching():
        await window.poller.wait_until_fresh()
        aggregate, events = await _events(window, application, aggregate)
        partition = _partition(window, application, aggregate)
        views = [
            await _followed(window, history.name, aggregate, partition, events)
            for history in window.poller.views_of(application)
            if history.name in window.stores
        ]
    return render(
        request,
        "pipeline/aggregate",
        status=200 if events else 404,
        application=application,
        aggregate=aggregate,
        partition=partition,
        events=events,
        tagged=isinstance(await window.sources.application(application), DCBApplication),
        most=MOST_EVENTS,
        views=views,
        stepped=[view.view for view in views if _can_be_stepped(window.stores[view.view])],
    )


def _id_in(request: Request) -> str:
    """Return the ID that is asked for; without NUL, which nothing in Postgres has."""
    return request.query_params.get("id", "").replace("\0", "").strip()[:LONGEST_ID]


def _can_be_stepped(store: Store) -> bool:
    try:
        replayable(store, Again.STEPPED)
    except NotReplayableError:
        return False
    return True


@operators_only
async def _steps(request: Request) -> Response:
    """Show what each event of an aggregate does to a view, a page of them, and write nothing."""
    window = window_of(request)
    store = window.store(request.path_params["view"])
    aggregate = _id_in(request)
    after = number_in(request.query_params.get("after", "0"))
    application = await window.sources.application(store.view.application_name)
    try:
        async with History.within(application, store.view) as history:
            # One more than is shown tells whether there are more.
            pages = steps(store, history, aggregate, after + STEPS + 1, after=after or None)
            shown = [step async for step in pages]
    except OperatorError as error:
        return refusal(request, error)
    except InsufficientPrivilege as error:
        return refusal(request, OperatorError(f"{error}. It takes the rights of a rebuild."))
    return render(
        request,
        "pipeline/steps",
        application=application.name,
        aggregate=aggregate,
        view=store.view.name,
        steps=shown[:STEPS],
        after=after,
        more=shown[STEPS - 1].version if len(shown) > STEPS else None,
        changed_lines=changed_lines,
        given_up=given_up,
    )


async def _events(window: Window, application: str, aggregate: str) -> tuple[str, Sequence[Event]]:
    """Return the ID of an aggregate as it is stored, and its latest events, the newest first.

    There are none if there is no such one.
    """
    outbox = outbox_of(await window.sources.application(application))
    try:
        every = await outbox.of_aggregate(aggregate, LARGEST_POSITION)
    except UndefinedTable:
        return aggregate, []
    stored = every[: -MOST_EVENTS - 1 : -1]
    return str(stored[0].originator_id) if stored else aggregate, [
        Event(
            notification.id,
            notification.originator_version,
            notification.topic.rpartition(":")[2],
            _as_text(notification.state),
        )
        for notification in stored
    ]


async def _followed(
    window: Window, view: str, aggregate: str, partition: int | None, events: Sequence[Event]
) -> Followed:
    """Return how far a view is with the events of an aggregate."""
    parked, every = await _set_aside(window.stores[view], aggregate)
    positions = [event.position for event in events]
    dropped = {
        position: given_up
        for given_up in every
        for position in positions
        if partition is not None and given_up.covers(partition, position)
    }
    return Followed(view, _position(window, view, partition), parked, dropped)


def _as_text(state: bytes) -> str:
    try:
        return state.decode()
    except UnicodeDecodeError:
        return f"{len(state):,} bytes, which are no text"


def _partition(window: Window, application: str, aggregate: str) -> int | None:
    """Return where the events of an aggregate are; None while the topic is not known."""
    for topic in window.poller.topics:
        if topic.name == application and topic.found and not isinstance(topic.found, Down):
            return (
                partition_of(aggregate.encode(), topic.found.partitions)
                if topic.found.partitions
                else None
            )
    return None


def _position(window: Window, view: str, partition: int | None) -> int | None:
    positions: Mapping[str, int | None] = {
        history.name: row.position
        for history in window.poller.views
        if history.found and not isinstance(history.found, Down)
        for row in history.found
        if row.partition == partition
    }
    return positions.get(view)


async def _set_aside(store: Store, aggregate: str) -> tuple[Sequence[Parked], Sequence[Dropped]]:
    """Return what is parked of an aggregate, and all that a view was let go on without."""
    async with store.connected() as connection:
        try:
            parked = await store.parking.select(connection, originator_id=aggregate)
            return parked, await store.parking.dropped(connection)
        except NOT_THERE:
            return [], []  # No consumer has made it yet.


ROUTES = [
    Route("/pipeline/aggregate", _aggregate),
    Route("/pipeline/views/{view}/steps", _steps),
]
