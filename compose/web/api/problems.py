"""What may be wrong, as problem details (RFC 9457): one shape for every error."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from eventsourcing.persistence import IntegrityError, PersistenceError
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg import InterfaceError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from eventsourcing_kafka.consumer.views.fts.search import SearchTooLongError
from eventsourcing_kafka.producer.contentmanagement.application import (
    InvalidPageError,
    PageNotFoundError,
    SlugConflictError,
)
from eventsourcing_kafka.producer.runtime.errors import OperatorError
from eventsourcing_kafka.producer.runtime.retry import name_of

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""What is asked of a client that meets what will pass."""


class Problem(NamedTuple):
    """A kind of problem. Its code, status and title stay as they are."""

    code: str
    status: int
    title: str
    advice: str
    """What a client does about it."""

    @property
    def type(self) -> str:
        """The URI of it, which leads to the place where it is explained."""
        return f"/api#{self.code}" if self.code else "about:blank"


NO_TOKEN = Problem(
    "no-token",
    401,
    "A token is needed",
    "Commands carry `Authorization: Bearer TOKEN`. Who signs in gets one at /token.",
)
NOT_JSON = Problem(
    "not-json",
    400,
    "The body is not JSON",
    "Send one JSON object in UTF-8, without lone surrogates and not nested deeply.",
)
NO_ADDRESS = Problem(
    "no-address", 404, "There is nothing here", "The document at /api/openapi.json has all paths."
)
NO_PAGE = Problem(
    "no-page",
    404,
    "There is no such page",
    "It never was, or it has another slug by now: search, or go through all pages.",
)
NO_VERSION = Problem(
    "no-version",
    404,
    "The page has no such version",
    "The history of a page has its versions, from 1 on.",
)
NO_METHOD = Problem(
    "no-method", 405, "The method is not for this address", "The header Allow says which are."
)
PAGE_CHANGED = Problem(
    "page-changed",
    409,
    "Somebody else has changed the page",
    "Nothing was changed. `current` is the page as it is now, `yours` is what was sent, and `diff` "
    "what yours would do to the body: bring the two together, and send that with "
    '`If-Match: "VERSION"` of the current one.',
)
SLUG_TAKEN = Problem("slug-taken", 409, "Another page has this slug", "Choose another slug.")
TOO_LARGE = Problem("too-large", 413, "The body is too large", "Send less at once.")
NOT_JSON_TYPE = Problem(
    "not-json-type",
    415,
    "The body is said to be something else than JSON",
    "Send it with `Content-Type: application/json`.",
)
INVALID = Problem(
    "invalid",
    422,
    "What was sent can't be taken",
    "`errors` says what is wrong, and where: a JSON pointer into the body, or the name of a "
    "parameter.",
)
SEARCH_TOO_LONG = Problem(
    "search-too-long",
    422,
    "The search took too long",
    "Add a word that fewer pages have, or take a phrase apart into words.",
)
NO_VERSION_GIVEN = Problem(
    "no-version-given",
    428,
    "A change says which version it is based on",
    "Read the page, and send its `ETag` with the change, as `If-Match`.",
)
TOO_MANY = Problem(
    "too-many", 429, "Too many requests", "Wait for so many seconds as the header Retry-After says."
)
FAILED = Problem(
    "failed",
    500,
    "Something is wrong here",
    "It is in the server's log; it is not for you to mend.",
)
NOT_REACHED = Problem(
    "position-not-reached",
    503,
    "The view has not reached the position yet",
    "Read again after `Retry-After`, or without a position, which gives what there is.",
)
NOT_IN_VIEW = Problem(
    "page-not-in-view",
    503,
    "The page is there, but the view has not got it yet",
    "Read again after `Retry-After`.",
)
BUSY = Problem(
    "busy",
    503,
    "Others change the same at the same time",
    "Nothing was changed. Send it again after `Retry-After`.",
)
UNAVAILABLE = Problem(
    "unavailable",
    503,
    "The database, or the view, is not there at the moment",
    "Try again after `Retry-After`.",
)

PROBLEMS = [problem for problem in list(globals().values()) if isinstance(problem, Problem)]
EVERYWHERE = [TOO_MANY, FAILED, UNAVAILABLE]

BY_STATUS = {problem.status: problem for problem in [NO_ADDRESS, NO_METHOD, TOO_LARGE, TOO_MANY]}
"""Of what the framework, and what stands around every request, says by a status alone."""

LATER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class Fault(NamedTuple):
    """Something that can't be taken."""

    at: str
    """A JSON pointer into the body, or the name of a parameter or header."""
    message: str


class ProblemError(Exception):
    """A request is answered with a problem."""

    def __init__(
        self,
        problem: Problem,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.headers = headers or {}
        self.members = members
        """More that the answer has, for this kind of problem."""


def invalid_request(*faults: Fault) -> ProblemError:
    """Return the refusal of what is wrong with what was sent."""
    detail = "; ".join(f"{fault.at}: {fault.message}" for fault in faults)
    return ProblemError(INVALID, detail, errors=[fault._asdict() for fault in faults])


def problem_response(refused: ProblemError) -> Response:
    """Return the answer that says what is wrong."""
    problem = refused.problem
    told = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": refused.detail,
        **refused.members,
    }
    response = Response(
        msgspec.json.encode(told), problem.status, refused.headers, media_type=MEDIA_TYPE
    )
    if problem.status in LATER:
        response.headers.setdefault("retry-after", str(RETRY_SECONDS))
    return response


def add_error_handlers(api: FastAPI) -> None:
    """Have every error answered as a problem."""
    for kind, refusal in PROBLEM_OF_ERROR.items():
        api.add_exception_handler(kind, _handler_of(refusal))


def _handler_of(
    refusal: Callable[[Any], ProblemError],
) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refuse(_request: Request, error: Exception) -> Response:
        return problem_response(refusal(error))

    return refuse


def _by_status(error: HTTPException) -> ProblemError:
    status = error.status_code
    # One that has no more to say than its status does is of no type.
    problem = BY_STATUS.get(status) or Problem("", status, HTTPStatus(status).phrase, "")
    return ProblemError(problem, error.detail, headers=error.headers)


def _not_valid(error: RequestValidationError) -> ProblemError:
    return invalid_request(*(_fault(wrong) for wrong in error.errors()))


def _fault(wrong: Mapping[str, Any]) -> Fault:
    where, *names = wrong["loc"]
    at = "".join(f"/{name}" for name in names) if where == "body" else str(names[-1])
    return Fault(at, wrong["msg"])


def _not_available(error: Exception) -> ProblemError:
    logger.warning("not available: %s", name_of(error))
    return ProblemError(UNAVAILABLE, "Try again shortly.")


PROBLEM_OF_ERROR: Mapping[type[Exception], Callable[[Any], ProblemError]] = {
    ProblemError: lambda refused: refused,
    HTTPException: _by_status,
    RequestValidationError: _not_valid,
    InvalidPageError: lambda error: invalid_request(Fault(f"/{error.field}", str(error))),
    PageNotFoundError: lambda error: ProblemError(NO_PAGE, f"There is no page {str(error)!r}."),
    SlugConflictError: lambda error: ProblemError(
        SLUG_TAKEN, f"Another page has the slug {str(error)!r}."
    ),
    SearchTooLongError: lambda error: ProblemError(SEARCH_TOO_LONG, str(error)),
    IntegrityError: lambda _error: ProblemError(BUSY, "It was tried, and tried again."),
    **dict.fromkeys(
        [OperatorError, OperationalError, InterfaceError, PersistenceError], _not_available
    ),
    # The server logs it.
    Exception: lambda _error: ProblemError(FAILED, "The request could not be answered."),
}
"""How what a route raises is refused; the nearest class counts."""
