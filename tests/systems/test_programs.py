"""The page about programs is true: what stands there runs, and goes through what can happen."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from anyio import to_thread
from starlette.responses import PlainTextResponse

from eventsourcing_kafka.compose.runner import parts
from eventsourcing_kafka.compose.servers.processes import free_port
from examples.counters.application import Counters
from examples.dogschool.application import DogSchool
from tests.layers import SERVERS
from tests.pages import blocks
from tests.pipeline import ROOT, SECONDS, until
from tests.serving import serving

from .storing import Place, postgres, settings
from .test_projections import Broken

PAGE = ROOT / "docs" / "PROGRAMS.md"
HOST = "127.0.0.1"

Ask = Callable[..., Any]


def program(section: str) -> dict[str, Any]:
    """Return what a section's block defines."""
    (text,) = [block.text for block in blocks(PAGE) if block.section == section]
    module = ModuleType(f"program_{section.lower()}")
    exec(compile(text, str(PAGE), "exec"), vars(module))
    return vars(module)


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[Ask]:
    """Serve an application; yield what asks it."""
    port = free_port()

    def ask(method: str, path: str) -> tuple[int, str]:
        connection = HTTPConnection(HOST, port, timeout=SECONDS)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    async def asked(method: str, path: str) -> tuple[int, str]:
        return await to_thread.run_sync(ask, method, path)

    async with serving(uvicorn.Config(app, host=HOST, port=port, log_level="critical")):
        yield asked


@pytest.fixture
def in_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The settings of a stack are in the environment of the program."""
    names = ("DogSchool", "Tricks", "Counters")
    env = {**settings(place, dict.fromkeys(names, postgres)), **place.kafka}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env


needs_servers = pytest.mark.usefixtures(*SERVERS, "in_environment")


@needs_servers
async def test_fastapi_waits_for_what_it_writes_and_is_healthy() -> None:
    async with served(program("FastAPI")["web"]) as ask:
        assert await ask("POST", "/dogs/Billy") == (200, "1")
        assert await ask("POST", "/dogs/Billy/sit") == (200, "1")
        assert await ask("POST", "/dogs/Billy/sit") == (200, "2")
        assert await ask("GET", "/healthz") == (200, "[]")


@needs_servers
async def test_fastapi_tells_of_poison_to_each_who_waits_and_in_its_health() -> None:
    defined = program("FastAPI")
    defined["Tricks"] = Broken
    async with served(defined["web"]) as ask:
        assert (await ask("POST", "/dogs/Billy"))[0] == 200
        for trick in ("sit", "beg"):
            assert (await ask("POST", f"/dogs/Billy/{trick}"))[0] == 500
        status, why = await ask("GET", "/healthz")
        assert status == 503
        assert "has ended: CannotApplyError: BrokenError (partition" in why


@needs_servers
async def test_fastapi_starts_while_kafka_is_away_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "PLACED_SECONDS", 0.5)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"{HOST}:1")
    async with served(program("FastAPI")["web"]) as ask:
        assert (await ask("POST", "/dogs/Billy"))[0] == 200
        status, why = await ask("GET", "/healthz")
        assert status == 503
        assert "waiting for its server" in why


async def test_starlette_runs_a_relay_and_a_consumer_in_its_own_loop(
    environment: dict[str, str],
) -> None:
    web = program("Starlette")["web"]
    web.state.env = environment
    async with served(web) as ask:
        assert await ask("POST", "/pages/roses") == (200, '"roses"')

        async def healthy() -> bool:
            return bool(await ask("GET", "/healthz") == (200, "[]"))

        await until(healthy)


@needs_servers
async def test_django_gets_a_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django itself is not needed for that: any ASGI application is mounted."""
    asgi = ModuleType("django.core.asgi")
    vars(asgi)["get_asgi_application"] = lambda: PlainTextResponse("Django's")
    for name in ("django", "django.core", asgi.__name__):
        monkeypatch.setitem(sys.modules, name, asgi)
    defined = program("Django")

    def teach() -> int:
        runner = defined["runner"]
        runner.get(DogSchool).register_dog("Billy")
        position = runner.get(DogSchool).add_trick("Billy", "sit")
        runner.get(Counters).recorder.wait("DogSchool", position, timeout=SECONDS)
        count: int = runner.get(Counters).get_count("sit")
        return count

    async with served(defined["application"]) as ask:
        assert await ask("GET", "/anything") == (200, "Django's")
        assert await to_thread.run_sync(teach) == 1
