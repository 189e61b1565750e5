"""Who changes the wiki, and what each has done."""

from __future__ import annotations

from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.auth.forms import Form, signed_in_form
from eventsourcing_kafka.compose.web.auth.session import user_of
from eventsourcing_kafka.compose.web.rendering import render
from eventsourcing_kafka.compose.web.wiki.model import wiki_of
from eventsourcing_kafka.compose.web.wiki.own_writes import has_own_writes
from eventsourcing_kafka.compose.web.wiki.pages import grouped
from eventsourcing_kafka.compose.web.wiki.rendering import short
from eventsourcing_kafka.consumer.views.activity.queries import changes_by, contributor
from eventsourcing_kafka.consumer.views.activity.queries import contributors as most_active

MOST = 100
LATEST = 100
"""Changes that are shown of one contributor."""


async def contributors(request: Request) -> Response:
    """List who changed most."""
    wiki = wiki_of(request)
    fresh = await has_own_writes(request, wiki.activity)
    active = await most_active(wiki.activity, MOST)
    names = await wiki.names([one.user_id for one in active])
    return render(request, "wiki/contributors", contributors=active, names=names, fresh=fresh)


async def one(request: Request) -> Response:
    """Show what a contributor has done."""
    wiki = wiki_of(request)
    user_id: UUID = request.path_params["user_id"]
    fresh = await has_own_writes(request, wiki.activity)
    known = await contributor(wiki.activity, user_id)
    user = user_of(request)
    itself = user is not None and user.id == user_id
    if known is None and not itself:
        raise HTTPException(404, "There is no such contributor.")
    names = await wiki.names([user_id])
    return render(
        request,
        "wiki/contributor",
        user_id=user_id,
        itself=itself,
        known=known,
        changes=[*grouped(await changes_by(wiki.activity, user_id, LATEST))],
        names=names,
        name=names.get(user_id) or (user.name if user and itself else short(user_id)),
        fresh=fresh,
    )


@signed_in_form
async def be_forgotten(request: Request, _form: Form) -> Response:
    """Delete the name of whoever asks for it, who is signed out: signing in gives one again."""
    user = user_of(request)
    if user is None or user.id != request.path_params["user_id"]:
        raise HTTPException(403, "A name is deleted by who has it.")
    await wiki_of(request).forget(user.id)
    request.session.clear()
    return RedirectResponse(request.url.path, 303)


ROUTES = [
    Route("/contributors", contributors),
    Route("/contributors/{user_id:uuid}", one),
    Route("/contributors/{user_id:uuid}", be_forgotten, methods=["POST"]),
]
