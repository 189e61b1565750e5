"""The server of a process's metrics and health: /metrics, /healthz and /readyz, over HTTP."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import msgspec
import typer
from prometheus_client.exposition import choose_encoder

from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.health import Exposed, HealthCheck, Report

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

CONNECTIONS = 20
"""At once; more are refused, so that they can't keep the loops from their work."""

PORT, HOST = "METRICS_PORT", "METRICS_HOST"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a port is opened when asked for, and then for another machine

MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65_535,
        envvar=PORT,
        help="Answer /metrics, /healthz and /readyz on this port.",
    ),
]
MetricsHost = Annotated[
    str, typer.Option(envvar=HOST, help="The address to answer on; by default all there are.")
]


class Settings(msgspec.Struct, frozen=True):
    """Where to answer, from the environment."""

    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = msgspec.field(
        default=None, name=PORT
    )
    host: str = msgspec.field(default=EVERYWHERE, name=HOST)


def listen_as_set(env: Mapping[str, str]) -> socket.socket | None:
    """Listen where `METRICS_PORT` and `METRICS_HOST` say. Raises `SettingsError`."""
    given = {name: env[name] for name in (PORT, HOST) if env.get(name)}
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"The METRICS_… settings are wrong: {error}") from error
    return listen(settings.port, settings.host)


def listen(port: int | None, host: str = EVERYWHERE) -> socket.socket | None:
    """Listen on a port; without one return None. Raises `SettingsError`."""
    if port is None:
        return None
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SettingsError(
            f"Nothing can be answered on {host}:{port} ({error.strerror}): "
            f"choose another --metrics-port ({PORT}) or --metrics-host ({HOST})."
        ) from error


def metrics_environment(port: int | None, host: str) -> dict[str, str]:
    """Return the variables that have another process, or a runner, answer there."""
    return {PORT: "" if port is None else str(port), HOST: host}


@asynccontextmanager
async def serving_metrics(
    parts: Sequence[HealthCheck[Any]], listener: socket.socket | None
) -> AsyncIterator[None]:
    """Serve the metrics and the health of this process's loops while the body runs."""
    if listener is None:
        yield
        return
    async with anyio.create_task_group() as serving:
        serving.start_soon(_serve, parts, listener)
        yield
        serving.cancel_scope.cancel()


async def _serve(parts: Sequence[HealthCheck[Any]], listener: socket.socket) -> None:
    import uvicorn

    from eventsourcing_kafka.producer.runtime.http_server import serve

    config = uvicorn.Config(
        application(parts),
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    await serve(config, listener)


def application(parts: Sequence[HealthCheck[Any]]) -> Starlette:
    """Return the web application that answers the requests."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def metrics(request: Request) -> Response:
        reports = await reports_of(parts)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        exposed = Exposed(zip(parts, reports, strict=True))
        return Response(encode(exposed), headers={"content-type": content_type})

    async def healthz(_request: Request) -> Response:
        reports = await reports_of(parts)
        return answer(reports, well=all(report.healthy for report in reports))

    async def readyz(_request: Request) -> Response:
        reports = await reports_of(parts)
        return answer(reports, well=all(report.ready for report in reports))

    def answer(reports: Sequence[Report], *, well: bool) -> Response:
        body = msgspec.json.encode({"well": well, "parts": reports})
        return Response(body, 200 if well else 503, media_type="application/json")

    endpoints = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in endpoints.items()])


async def reports_of(parts: Sequence[HealthCheck[Any]]) -> list[Report]:
    """Run all health checks at once, and return their reports in order."""
    reports: dict[int, Report] = {}

    async def report(number: int, part: HealthCheck[Any]) -> None:
        reports[number] = await part.report()

    async with anyio.create_task_group() as checking:
        for number, part in enumerate(parts):
            checking.start_soon(report, number, part)
    return [reports[number] for number in range(len(parts))]
