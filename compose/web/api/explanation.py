"""What there is in the API, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eventsourcing_kafka.compose.web.api.problems import PROBLEMS
from eventsourcing_kafka.compose.web.rendering import render


def explanation_route(document: Mapping[str, Any]) -> Route:
    """Return the page that explains what a document describes."""
    operations = [
        (method.upper(), path, operation["description"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]

    async def explain(request: Request) -> Response:
        return render(request, "api/about", operations=operations, problems=PROBLEMS)

    return Route("/api", explain)
