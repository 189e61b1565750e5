"""The API, put together, and the document that describes it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from eventsourcing_kafka.compose.web.api import commands, queries
from eventsourcing_kafka.compose.web.api.explanation import explanation_route
from eventsourcing_kafka.compose.web.api.problems import add_error_handlers
from eventsourcing_kafka.compose.web.api.schemas import (
    ConflictDetails,
    InvalidDetails,
    ProblemDetails,
)

VERSION = "1.0.0"

DESCRIPTION = """\
What the pages of the wiki do, for programs.

Commands need a token: `Authorization: Bearer TOKEN`. Reading needs none, and no cookie counts.

A command answers with a position, as `position` and as the header `Wiki-Position`. Who reads with
it, as a parameter or in that header, sees of the page that was written what the command did, or
newer. What has no such parameter is read from the write model, and always new.

A change says which version it is based on: `If-Match` with the `ETag` of the page. It is refused
with 428 if it does not, and with 409 and both texts if somebody else has changed the page since.

A slug is one part of a path: a `/` in it is sent as `%2F`.

Every error is a problem detail (RFC 9457) of a type that stays as it is.
"""


def api_app() -> FastAPI:
    """Return the API, which finds all that it needs in its `state`: that of the pages."""
    api = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    api.include_router(queries.routes)
    api.include_router(commands.routes)
    add_error_handlers(api)
    encoded = msgspec.json.encode(document(api))

    async def describe(_request: Request) -> Response:
        return Response(encoded, media_type="application/json")

    api.add_route("/openapi.json", describe)
    return api


def api_routes(api: FastAPI) -> list[BaseRoute]:
    """Return the routes to the API, and to the page that explains it."""
    return [explanation_route(document(api)), Mount("/api", api, name="api")]


@lru_cache(maxsize=1)  # To describe the API takes most of the start of the web.
def document(api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document."""
    described = get_openapi(
        title="The wiki",
        version=VERSION,
        description=DESCRIPTION,
        routes=api.routes,
        servers=[{"url": "/api"}],
        separate_input_output_schemas=False,
    )
    _, schemas = models_json_schema(
        [
            (ProblemDetails, "serialization"),
            (InvalidDetails, "serialization"),
            (ConflictDetails, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    components = described["components"]
    components["schemas"] |= schemas["$defs"]
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "On whose behalf a command is given. Who signs in gets one at /token.",
        }
    }
    for path in described["paths"].values():
        for operation in path.values():
            operation["security"] = [{"token": []}] if "requestBody" in operation else []
    return described
