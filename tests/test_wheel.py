"""The wheel, installed into an empty environment, gives working commands."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline import ROOT

SHOW_A_PAGE = """
import anyio
from httpx2 import ASGITransport, AsyncClient
from eventsourcing_kafka.compose.web.app import web_app

async def show():
    transport = ASGITransport(web_app({}, "secret"))
    async with AsyncClient(transport=transport, base_url="http://localhost") as browser:
        (await browser.get("/static/style.css")).raise_for_status()
        print((await browser.get("/sign-in")).text)

anyio.run(show)
"""

COMMAND = "eventsourcing-kafka"

START_POSTGRES = """
import anyio
from eventsourcing_kafka.compose.stack.stack import Stack

async def start():
    async with Stack(only=["postgres"]) as stack:
        print(stack.environment()["POSTGRES_USER"])

anyio.run(start)
"""


class Environment:
    """A virtual environment with nothing in it but what is installed here, as the lock says."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self._folder = folder
        self._uv("venv", "--quiet", "--python", sys.executable, str(folder))

    def install(self, wheel: Path, *options: str) -> None:
        """Install the wheel, and what it needs with these options of the lock's export."""
        export = ("export", "--frozen", "--quiet", "--no-dev", "--no-emit-project", *options)
        requirements = self._folder / "requirements.txt"
        requirements.write_text(self._uv(*export))
        install = ("pip", "install", "--quiet", "--python", str(self.bin / "python"))
        self._uv(*install, "--require-hashes", "-r", str(requirements))
        self._uv(*install, "--no-deps", str(wheel))

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of it, far from the checkout, with no settings but these."""
        env = {"PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]), **variables}
        env |= {"HOME": str(self._folder), "XDG_CACHE_HOME": str(self._folder / "cache")}
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            env=env,
            cwd=self._folder,
        )

    def _uv(self, *arguments: str) -> str:
        uv = shutil.which("uv", path=f"{os.environ['PATH']}{os.pathsep}{ROOT / '.venv/bin'}")
        assert uv, "make installs it"
        done = subprocess.run(
            [uv, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """The pipeline, without what runs servers on a laptop."""
    environment = Environment(tmp_path_factory.mktemp("core"))
    environment.install(wheel)
    yield environment
    shutil.rmtree(environment.bin.parent)


def test_the_command_is_all_three_command_lines(core: Environment) -> None:
    listed = core.run(COMMAND, "--help")
    assert listed.returncode == 0, listed.stderr
    assert all(part in listed.stdout for part in ("producer", "consumer", "compose"))
    by_name = core.run(COMMAND, "consumer", "status")
    by_module = core.run("python", "-m", "eventsourcing_kafka", "consumer", "status")
    assert by_name.returncode == by_module.returncode == 1
    assert "POSTGRES_DBNAME" in by_name.stderr
    assert by_name.stderr == by_module.stderr


def test_the_audit_needs_no_extra(core: Environment) -> None:
    audit = core.run(COMMAND, "compose", "audit", KAFKA_BOOTSTRAP_SERVERS="nowhere:1")
    assert audit.returncode == 1
    assert "POSTGRES_DBNAME" in audit.stderr


def test_a_shell_completes_the_names_of_views(core: Environment) -> None:
    script = f"""
        eval "$({COMMAND} --show-completion)"
        COMP_WORDS=({COMMAND} consumer run f) COMP_CWORD=3
        $(complete -p {COMMAND} | sed -E 's/.*-F ([^ ]+).*/\\1/') {COMMAND}
        echo "${{COMPREPLY[@]}}"
    """
    (core.bin / "complete").write_text(f"#!/usr/bin/env bash\n{script}")
    (core.bin / "complete").chmod(0o700)
    assert core.run("complete").stdout == "fts\n"


@pytest.mark.parametrize(("shell", "registers"), [("zsh", "compdef"), ("fish", "complete")])
def test_other_shells_have_their_completion(core: Environment, shell: str, registers: str) -> None:
    generated = core.run(COMMAND, _EVENTSOURCING_KAFKA_COMPLETE=f"source_{shell}").stdout
    assert re.search(rf"^{registers} .*{COMMAND}", generated, re.MULTILINE)


def test_what_runs_servers_says_which_extra_brings_it_and_works_with_that(
    core: Environment, wheel: Path
) -> None:
    for arguments in (["up"], ["kafka", "topics", "--list"], ["web"]):
        refused = core.run(COMMAND, "compose", *arguments)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert line.endswith("pip install 'eventsourcing-kafka[compose]'")

    core.install(wheel, "--extra", "compose")
    no_stack = core.run(COMMAND, "compose", "env")
    assert "no stack runs: start one with" in no_stack.stderr
    shown = core.run("python", "-c", SHOW_A_PAGE)
    assert "in development" in shown.stdout, shown.stderr
    started = core.run("python", "-c", START_POSTGRES)
    assert (started.returncode, started.stdout) == (0, "postgres\n"), started.stderr
