"""What operators do about the pipeline.

Each action asks first, on a page of its own that says what will happen; then it does what the
command line does, by the same functions, and it is logged who has done it and what came of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from msgspec.structs import replace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.compose.web.auth.forms import (
    Endpoint,
    Form,
    operators_only,
    signed_in_form,
)
from eventsourcing_kafka.compose.web.auth.session import User, user_of
from eventsourcing_kafka.compose.web.pipeline.jobs import Job, log
from eventsourcing_kafka.compose.web.pipeline.window import window_of
from eventsourcing_kafka.compose.web.rendering import bounded, render
from eventsourcing_kafka.consumer.engine.protocol import Again
from eventsourcing_kafka.consumer.engine.store import ViewStore, replayable
from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.filling import RebuildProgress
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.consumer.operations.redrive import (
    drop,
    dropped_events,
    listed_events,
    parked_event,
    retry,
)
from eventsourcing_kafka.consumer.operations.replay import applied_records, replay_view
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError

LISTED = 100
"""Parked events on one page."""
LONGEST_REASON = 500
"""Characters, of why an event is dropped."""

BEGUN = "It has begun: see below how far it is."

Ask = Callable[[Request, ViewStore], Awaitable[Mapping[str, Any]]]
Act = Callable[[Request, ViewStore, Form, User], Awaitable[tuple[str, str]]]


def _question(ask: Ask) -> Endpoint:
    """Have a page ask whether something is to be done to a view."""

    @wraps(ask)
    async def handle(request: Request) -> Response:
        store = window_of(request).store(request.path_params["view"])
        try:
            question = await ask(request, store)
        except OperatorError as error:
            return refusal(request, error)
        return render(request, "pipeline/ask", **{**NOTHING, "view": store.view.name, **question})

    return operators_only(handle)


def _action(act: Act) -> Endpoint:
    """Have it done to a view, and say and log what came of it."""

    @wraps(act)
    async def handle(request: Request, form: Form) -> Response:
        store = window_of(request).store(request.path_params["view"])
        what = f"{act.__name__.removeprefix('_do_')} of {store.view.name}"
        return await _logged(request, what, lambda user: act(request, store, form, user))

    return operators_only(signed_in_form(handle))


async def _logged(
    request: Request, what: str, work: Callable[[User], Awaitable[tuple[str, str]]]
) -> Response:
    """Do what an operator wants; `work` returns what came of it, and where to go then."""
    user = user_of(request)
    assert user  # noqa: S101 - nobody else is let in
    try:
        outcome, path = await work(user)
    except OperatorError as error:
        log(user, what, f"refused: {type(error).__name__}")  # No log quotes an event.
        return refusal(request, error)
    except Exception as error:
        log(user, what, f"failed: {type(error).__name__}")
        raise
    log(user, what, outcome)
    request.session["told"] = bounded(outcome)
    return RedirectResponse(path, 303)


def refusal(request: Request, error: OperatorError) -> Response:
    """Return a page that says why something is not done."""
    return render(request, "pipeline/refused", status=409, message=bounded(str(error), 1000))


NOTHING: Mapping[str, Any] = {
    "details": (),
    "hidden": {},
    "options": (),
    "others": (),
    "wants_reason": False,
}
"""What a page that asks does without."""


@operators_only
async def _parked(request: Request) -> Response:
    store = window_of(request).store(request.path_params["view"])
    after = number_in(request.query_params.get("after", "0"))
    try:
        events, count = await listed_events(store, after=after, limit=LISTED)
        given_up = (await dropped_events(store))[-LISTED:]
    except OperatorError as error:
        return refusal(request, error)
    return render(
        request,
        "pipeline/parked",
        view=store.view.name,
        application=store.view.application_name,
        events=events,
        count=count,
        first=not after,
        more=events[-1].id if len(events) == LISTED else None,
        dropped=given_up[::-1],
        told=request.session.pop("told", ""),
    )


def _whose_code(request: Request, what: str) -> str:
    """Say with which code something is done: a consumer may have been started with newer one."""
    since = window_of(request).since
    return (
        f"{what} with the code that this server was started with, at {since:%Y-%m-%d %H:%M:%S} "
        "UTC. If the view's code has changed since then, restart the server first."
    )


async def _retry(request: Request, store: ViewStore) -> Mapping[str, Any]:
    event = await parked_event(store, number_in(request.query_params.get("event", "")))
    async with store.connected() as connection:
        count = await store.parking.count(connection, originator_id=event.originator_id)
    return {
        "title": f"Retry in {store.view.name}",
        "question": f"Try the {count:,} parked events of {bounded(event.originator_id)} again?",
        "details": [
            "They are applied in order, in one transaction: all of them, or none.",
            _whose_code(request, "They are applied"),
            f"The first could not be applied because: {bounded(event.reason, 1000)}",
        ],
        "hidden": {"event": event.id},
        "button": "Retry",
        "back": _path(store, "parked"),
    }


async def _do_retry(
    _request: Request, store: ViewStore, form: Form, _user: User
) -> tuple[str, str]:
    event = await parked_event(store, number_in(form.get("event", "")))
    applied = await retry(store, event.originator_id)
    return messages.retried(event.originator_id, applied), _path(store, "parked")


async def _drop(request: Request, store: ViewStore) -> Mapping[str, Any]:
    event = await parked_event(store, number_in(request.query_params.get("event", "")))
    kind, aggregate = bounded(event.type or "an event"), bounded(event.originator_id)
    named = replace(event, type=kind, originator_id=aggregate)
    return {
        "title": f"Drop in {store.view.name}",
        "question": messages.may_drop(store.view.name, named),
        "details": [
            "Who did so, when and why is kept for ever. The events behind it wait for a retry.",
            f"It could not be applied because: {bounded(event.reason, 1000)}",
        ],
        "hidden": {"event": event.id},
        "wants_reason": True,
        "button": "Drop for ever",
        "back": _path(store, "parked"),
    }


async def _do_drop(_request: Request, store: ViewStore, form: Form, user: User) -> tuple[str, str]:
    event_id = number_in(form.get("event", ""))
    reason = " ".join(form.get("reason", "").split())
    if not reason or len(reason) > LONGEST_REASON:
        raise SettingsError(f"Say why, in 1 to {LONGEST_REASON} characters.")
    await drop(store, event_id, by=user.name, reason=bounded(reason, LONGEST_REASON))
    return messages.dropped(store.view, event_id), _path(store, "parked")


async def _replay(request: Request, store: ViewStore) -> Mapping[str, Any]:
    every = await applied_records(store)
    chosen = _partitions(request.query_params.get("partition", ""))
    records = await applied_records(store, chosen) if chosen else every
    others: list[tuple[str, str]] = [
        (f"{_path(store, 'replay')}?{urlencode({'partition': number})}", f"partition {number}")
        for number in every
        if [number] != chosen
    ]
    return {
        "title": f"Replay {store.view.name}",
        "question": messages.may_replay(store.view.name, records),
        "details": [
            "Running consumers notice, and start over; meanwhile the view is incomplete.",
            _whose_code(request, "It is emptied"),
            "Then the consumers fill it, each with the code that it was started with.",
            "To keep it whole for those who search it, rebuild it instead.",
        ],
        "hidden": {"partition": chosen[0]} if chosen else {},
        "others": [(_path(store, "replay"), "all partitions"), *others] if chosen else others,
        "button": "Replay",
    }


async def _do_replay(
    _request: Request, store: ViewStore, form: Form, _user: User
) -> tuple[str, str]:
    chosen = _partitions(form.get("partition", ""))
    records = await applied_records(store, chosen)
    await replay_view(store, chosen)
    return messages.replayed(store.view.name, records), "/pipeline"


async def _rebuild(request: Request, store: ViewStore) -> Mapping[str, Any]:
    replayable(store, Again.REBUILT)
    return {
        "title": f"Rebuild {store.view.name}",
        "question": messages.may_rebuild(store.view.name),
        "details": [
            "A new generation is filled beside the active one, and the two are swapped.",
            _whose_code(request, "It is filled"),
            f"Until then those who read {store.view.name} find the old one.",
            "If it fails, or the server stops, all is as it was, and the next rebuild goes on.",
        ],
        "options": [
            ("keep", "No, keep it, to swap back to"),
            ("anew", "Do not go on with what an interrupted rebuild has filled"),
            ("even_if_parked", "Swap though the new one has more events parked"),
        ],
        "others": [(_path(store, "swap-back"), "swap back to a kept generation")],
        "button": "Rebuild",
    }


async def _do_rebuild(
    request: Request, store: ViewStore, form: Form, user: User
) -> tuple[str, str]:
    window, view = window_of(request), store.view.name
    write_model = write_model_of(store.view, window.environment)
    rebuild = Rebuild(store, window.settings, write_model=write_model)

    async def work(job: Job) -> str:
        def report(progress: RebuildProgress) -> None:
            job.advance("offsets", progress.records, progress.records + progress.gap)

        keep, anew, even_if_parked = (name in form for name in ("keep", "anew", "even_if_parked"))
        await rebuild.run(report, keep=keep, anew=anew, even_if_parked=even_if_parked)
        return messages.rebuilt(view)

    window.jobs.start("rebuild", view, user, work)
    return BEGUN, "/pipeline"


async def _swap_back(_request: Request, store: ViewStore) -> Mapping[str, Any]:
    return {
        "title": f"Swap {store.view.name} back",
        "question": messages.may_swap_back(store.view.name),
        "details": ["The other one is kept. Consumers bring it up to date from where it was."],
        "button": "Swap back",
    }


async def _do_swap_back(
    request: Request, store: ViewStore, _form: Form, _user: User
) -> tuple[str, str]:
    await Rebuild(store, window_of(request).settings).swap_back()
    return messages.swapped_back(store.view.name), "/pipeline"


@operators_only
async def _audit(request: Request) -> Response:
    question = {
        "view": "",
        "title": "Audit",
        "question": "Compare the write model, the topic and the views, position by position?",
        "details": ["It changes nothing, and everything may run meanwhile. It reads all there is."],
        "button": "Audit now",
    }
    return render(request, "pipeline/ask", **{**NOTHING, **question})


async def _do_audit(request: Request, _form: Form) -> Response:
    window = window_of(request)

    async def work(job: Job) -> str:
        job.report = await audit(
            window.environment,
            pipeline=window.pipeline,
            advance=job.advance,
            by=job.by,
        )
        return str(job.report)

    async def begin(user: User) -> tuple[str, str]:
        window.jobs.start("audit", "pipeline", user, work)
        return BEGUN, "/pipeline"

    return await _logged(request, "audit of pipeline", begin)


def _path(store: ViewStore, what: str) -> str:
    return f"/pipeline/views/{store.view.name}/{what}"


def number_in(given: str) -> int:
    """Return a number that came with a request."""
    if not given.isascii() or not given.isdecimal() or len(given) > 18:  # noqa: PLR2004 - a bigint
        raise HTTPException(400, "That is no number.")
    return int(given)


def _partitions(given: str) -> Sequence[int] | None:
    """Return the partition that came with a request; None if it is about all."""
    return [number_in(given)] if given else None


def _routes(what: str, ask: Ask, act: Act) -> list[Route]:
    path = f"/pipeline/views/{{view}}/{what}"
    return [Route(path, _question(ask)), Route(path, _action(act), methods=["POST"])]


ROUTES = [
    Route("/pipeline/views/{view}/parked", _parked),
    *_routes("retry", _retry, _do_retry),
    *_routes("drop", _drop, _do_drop),
    *_routes("replay", _replay, _do_replay),
    *_routes("rebuild", _rebuild, _do_rebuild),
    *_routes("swap-back", _swap_back, _do_swap_back),
    Route("/pipeline/audit", _audit),
    Route("/pipeline/audit", operators_only(signed_in_form(_do_audit)), methods=["POST"]),
]
