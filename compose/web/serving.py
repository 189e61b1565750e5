"""Serving the web until it is cancelled."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Collection, Mapping

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette

from eventsourcing_kafka.compose.servers.processes import require_free
from eventsourcing_kafka.compose.web.settings import WebSettings
from eventsourcing_kafka.producer.runtime import http_server
from eventsourcing_kafka.producer.runtime.cli import progress_console
from eventsourcing_kafka.producer.runtime.errors import SettingsError

GRACE_SECONDS = 1
"""For answers that are on their way when a signal comes. A live page is open for ever."""

MOST_CONNECTIONS = 500
"""At once; more are turned away."""

LONGEST_HEADERS = 32_000
"""Bytes of all headers of a request."""


def checked_settings(
    env: Mapping[str, str], host: str, *, proxied: bool, anybody: bool
) -> WebSettings:
    """Return the settings of the web. Raises `SettingsError` if it would be open unawares."""
    settings = WebSettings.from_env(env)
    if settings.provider:
        return settings
    if anybody:
        return settings.without_operators()
    if proxied or settings.hosts or not _is_loopback(host):
        raise SettingsError(
            "By --host, --proxy, --secure or WEB_HOSTS others can reach it, and could be "
            "anybody: a name is enough to sign in. Set WEB_OIDC_ISSUER and WEB_OIDC_CLIENT_ID to a "
            "provider that knows who it is, or say --anybody: then all may sign in under any name, "
            "and nobody is an operator."
        )
    return settings


def listening(host: str, port: int) -> socket.socket:
    """Listen. Raises `StackError` or `SettingsError` if that can't be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        require_free(port, "--port")  # It tells who has it.
        raise SettingsError(
            f"Nothing can listen on {host}, port {port} ({error.strerror}): "
            "choose another --host or --port."
        ) from error
    # Connections inherit it. Without, the end of an answer waits 40 ms for its beginning to be
    # acknowledged: asyncio sees to that only where it has made the socket itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return what to open in a browser."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    app: Starlette, listener: socket.socket, *, proxies: Collection[str], access_log: bool
) -> None:
    """Serve an application for browsers until cancelled."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        http="h11",
        h11_max_incomplete_event_size=LONGEST_HEADERS,
        log_config=None,
        log_level="warning",
        access_log=access_log,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    # The lifespan is not left to the server: what goes wrong in it would be a traceback.
    async with app.router.lifespan_context(app):
        progress_console().print(
            f"The {app.state.site.name} is at {address_of(listener)}. Ctrl-C ends it."
        )
        await http_server.serve(config, listener, before_shutdown=_end_live_pages)


def _end_live_pages() -> None:
    AppStatus.should_exit = True
    # What is cut off from now on is no error.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
