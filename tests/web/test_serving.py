"""`eventsourcing-kafka compose web`, in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from httpx2 import ASGITransport, AsyncClient

from eventsourcing_kafka.compose.stack.stack import Stack
from eventsourcing_kafka.compose.web.app import web_app
from tests.pipeline import until

from .browser import text_of

WEB = [sys.executable, "-m", "eventsourcing_kafka", "compose", "web"]


def web(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    variables = {**os.environ, **environment}
    return subprocess.Popen(
        [*WEB, *arguments], env=variables, stderr=subprocess.PIPE, text=True, bufsize=1
    )


@pytest.mark.usefixtures("programs")
def test_it_says_where_it_is_and_ends_at_once_though_requests_are_open(
    environment: dict[str, str],
) -> None:
    with web(environment, "--port", "0", "--access-log", "--log-format", "json") as process:
        assert process.stderr
        said = process.stderr.readline()
        port = int(re.findall(r"The wiki is at http://127\.0\.0\.1:(\d+)\.", said)[0])
        with socket.create_connection(("127.0.0.1", port)) as waiting:
            waiting.sendall(
                b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
            )
            assert waiting.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
            logged = process.stderr.readline()
            assert '"GET /sign-in HTTP/1.1\\" 200"' in logged
            assert '"message": "127.0.0.1:' in logged
            waiting.sendall(
                b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\nna"
            )
            taken = web(environment, "--port", str(port))
            _, refusal = taken.communicate()
            assert (taken.returncode, refusal.count("\n")) == (1, 1)
            assert f"port {port} is in use by process {process.pid}" in refusal
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
        assert process.wait() == 0
    assert time.monotonic() - asked < 5
    assert '"level": "ERROR"' not in said


async def test_it_is_there_before_its_database_and_its_views(
    environment: dict[str, str], database: Callable[[str], str], token: str
) -> None:
    settings = {**environment, "CONTENTMANAGEMENT_POSTGRES_DBNAME": f"{token}_later"}
    app = web_app(settings, "a secret that is only of the tests")
    client = AsyncClient(transport=ASGITransport(app), base_url="http://localhost")
    async with client, app.router.lifespan_context(app):
        early = await client.get("/pages")
        assert early.status_code == 503
        assert "not there at the moment" in text_of(early)
        assert token not in early.text
        database("later")

        async def lists_pages() -> bool:
            return (await client.get("/pages")).status_code == 200

        await until(lists_pages)
        assert (await client.get("/")).status_code == 200
        for path in ("/search?q=rose", "/contributors"):
            assert (await client.get(path)).status_code == 503


def test_a_stack_has_one_secret_for_its_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path)
    variables = stack._web_secret()
    file = Path(variables["WEB_SECRET_FILE"])
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text()
    assert stack._web_secret() == variables
    assert file.read_text() == secret
    monkeypatch.setenv("WEB_SECRET", "of my own")
    assert stack._web_secret() == {}
