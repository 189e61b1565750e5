"""A token endpoint of OAuth 2. Its tokens are not signed: the broker of the tests believes them."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from tests.serving import serving

SECRET = "client-secret"
SECONDS = 300


@asynccontextmanager
async def token_endpoint(certificate: Path, key: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """Give tokens to who knows the secret; tell of the scope of each that was given."""
    given: list[str] = []

    async def answer(request: Request) -> JSONResponse:
        form = await request.form()
        scheme, _, credentials = request.headers["Authorization"].partition(" ")
        name, _, secret = base64.b64decode(credentials).decode().partition(":")
        if (scheme, secret, form["grant_type"]) != ("Basic", SECRET, "client_credentials"):
            return JSONResponse({"error": "invalid_client"}, 401)
        given.append(str(form["scope"]))
        token = unsigned(sub=name, iat=time.time(), exp=time.time() + SECONDS)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": SECONDS})

    port = free_port()
    config = uvicorn.Config(
        Starlette(routes=[Route("/token", answer, methods=["POST"])]),
        host=HOST,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_config=None,
    )
    async with serving(config):
        yield f"https://{HOST}:{port}/token", given


def unsigned(**claims: Any) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
