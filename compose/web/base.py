"""What every application for browsers is made of: sessions, safety, rates, and its errors."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aiokafka.errors import KafkaError
from eventsourcing.persistence import PersistenceError
from psycopg import InterfaceError, OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan

from eventsourcing_kafka.compose.web.auth import sign_out
from eventsourcing_kafka.compose.web.auth.development import NameOnly
from eventsourcing_kafka.compose.web.auth.session import SESSION_SECONDS, SignIn
from eventsourcing_kafka.compose.web.auth.tokens import Tokens
from eventsourcing_kafka.compose.web.rates import RateLimitMiddleware
from eventsourcing_kafka.compose.web.rendering import HERE, Site, render
from eventsourcing_kafka.compose.web.safety import Refuse, SafetyMiddleware, plain_page
from eventsourcing_kafka.compose.web.settings import WebSettings
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import name_of

logger = logging.getLogger(__name__)

UNAVAILABLE = (OperatorError, OperationalError, InterfaceError, PersistenceError, KafkaError)
"""What an answer waits for, or an operator has to settle. A browser is told no more of it."""


def browser_app(
    site: Site,
    routes: Sequence[BaseRoute],
    lifespan: Lifespan[Starlette],
    secret: str,
    settings: WebSettings,
    *,
    sign_in: SignIn | None,
    secure: bool,
    most_bytes: int,
    refuse: Refuse,
) -> Starlette:
    """Return an application with some routes, and those to sign in and out.

    `secret` signs the sessions: whoever has it may be anybody. The `settings` decide how one signs
    in, unless `sign_in` does. With `secure`, browsers send sessions over HTTPS only. No body may
    have more than `most_bytes`; what is refused before it comes to its route is told by `refuse`.
    """
    known = Tokens(secret, settings.operators)
    app = Starlette(
        routes=[
            *routes,
            *(sign_in or _sign_in(settings)).routes,
            *sign_out.ROUTES,
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        middleware=[
            Middleware(
                SafetyMiddleware,
                most_bytes=most_bytes,
                answers_as=settings.answers_as,
                refuse=refuse,
            ),
            Middleware(
                SessionMiddleware,
                secret_key=secret,
                session_cookie=f"__Host-{site.cookie}" if secure else site.cookie,
                max_age=SESSION_SECONDS,
                same_site="lax",
                https_only=secure,
            ),
            # It knows who is signed in.
            Middleware(RateLimitMiddleware, rates=settings.rates, tokens=known, refuse=refuse),
        ],
        exception_handlers={
            HTTPException: _refused,
            **dict.fromkeys(UNAVAILABLE, _unavailable),
            500: _failed,
        },
        lifespan=lifespan,
    )
    app.state.site = site
    app.state.operators = settings.operators
    app.state.tokens = known
    return app


def _sign_in(settings: WebSettings) -> SignIn:
    if settings.provider is None:
        return NameOnly()
    from eventsourcing_kafka.compose.web.auth.oidc import OpenIDConnect  # It takes a while.

    return OpenIDConnect(settings.provider)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this one
    response = render(request, "error", status=error.status_code, message=error.detail)
    response.headers.update(error.headers or {})
    return response


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.warning("not available: %s", name_of(error))
    message = "The database, or the view, is not there at the moment. Try again shortly."
    return render(request, "error", status=503, message=message)


async def _failed(_request: Request, _error: Exception) -> Response:
    # The server logs it. Nothing here may fail as well: no template, no session.
    return plain_page(HTTPException(500, "Something is wrong here. The log has it."))
