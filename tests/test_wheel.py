"""The wheel, installed into an empty environment, gives one name and working commands."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from httpx2 import Client, TransportError

from eventsourcing_kafka.compose.servers.jars import cache
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import free_port
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from tests.pipeline import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PARTS = ("producer", "consumer", "compose", "testing")

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

SHOP = """
from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate
from eventsourcing.system import ProcessApplication, System

class Order(Aggregate):
    pass

class Shop(Application):
    pass

class Packing(ProcessApplication):
    @singledispatchmethod
    def policy(self, domain_event, processing_event):
        pass

system = System([[Shop, Packing]])
"""
SAVE_AN_ORDER = """
from shop import Order, Shop

with Shop() as shop:
    shop.save(Order())
"""

HELP_OF_ALL = """
import sys
from typer import Typer
from typer.core import TyperGroup
from typer.main import get_command
from eventsourcing_kafka.__main__ import app, main

def names(command, *name):
    yield name
    if isinstance(command, TyperGroup):
        context = command.make_context("", [], resilient_parsing=True)
        for each in command.list_commands(context):
            yield from names(command.get_command(context, each), *name, each)

for name in list(names(get_command(app))):
    sys.argv = ["eventsourcing-kafka", *name, "--help"]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, name
"""

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

    def add(self, *requirements: str) -> None:
        """Install what a developer has besides."""
        self._uv("pip", "install", "--quiet", "--python", str(self.bin / "python"), *requirements)

    def run(
        self, *command: str, folder: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of it, far from the checkout, with no settings but these."""
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            env=self.variables(variables),
            cwd=folder or self._folder,
        )

    @contextmanager
    def running(self, folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command of ours during the body, with no settings but those that it finds there."""
        name = "-".join(command).replace("/", "_")
        with (folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [self.bin / COMMAND, *command],
                env=self.variables({}),
                cwd=folder,
                stdout=log,
                stderr=log,
                text=True,
            )
            try:
                yield process
            finally:
                process.terminate()
                process.wait()

    def variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a process of it."""
        env = {"PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]), **variables}
        return env | {"HOME": str(self._folder), "XDG_CACHE_HOME": str(self._folder / "cache")}

    def _uv(self, *arguments: str) -> str:
        uv = shutil.which("uv", path=f"{os.environ['PATH']}{os.pathsep}{ROOT / '.venv/bin'}")
        assert uv, "make installs it"
        done = subprocess.run(
            [uv, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    """Build a distribution of a source tree, and return its file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, int]:
    """Return the check sums of the files that a wheel installs."""
    with ZipFile(wheel) as files:
        return {
            each.filename: each.CRC
            for each in files.infolist()
            if not each.filename.endswith(".dist-info/RECORD")
        }


@pytest.fixture(scope="module")
def core(wheel: Path) -> Iterator[Environment]:
    """The pipeline, without what runs servers on a laptop.

    Not in pytest's folder, which a second run of the tests takes from Postgres' user.
    """
    with tempfile.TemporaryDirectory(prefix="core-") as folder:
        Path(folder).chmod(0o755)
        environment = Environment(Path(folder, "environment"))
        environment.install(wheel)
        yield environment


def test_one_name_is_all_that_is_installed_to_import(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in contents(wheel)}

    assert top == {"eventsourcing_kafka", f"eventsourcing_kafka-{PROJECT['version']}.dist-info"}


def test_everything_that_the_parts_need_is_in_it(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PARTS],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    files = {f"eventsourcing_kafka/{name}" for name in listed if (ROOT / name).is_file()}
    installed = {name for name in contents(wheel) if ".dist-info/" not in name}

    own = {f"eventsourcing_kafka/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    assert installed == files | own
    for needed in ("kafka.lock", "log4j2.properties", "layout.html", "style.css", "compose.yaml"):
        assert any(name.endswith(f"/{needed}") for name in installed), needed


def test_the_source_distribution_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("eventsourcing_kafka-*")
    again = build("wheel", unpacked, tmp_path / "wheel")

    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that has modules called like ours, and an application of its own."""
    for part in PARTS:
        (tmp_path / f"{part}.py").write_text(f"raise ImportError('this is our own {part}')\n")
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def test_a_project_has_a_producer_a_consumer_and_a_compose_of_its_own(
    core: Environment, project: Path, kafka: Kafka, token: str
) -> None:
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": f"{token}.",
        "KAFKA_GROUP_PREFIX": f"{token}.",
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SHOP_SQLITE_DBNAME": str(project / "shop.sqlite"),
        "PACKING_SQLITE_DBNAME": str(project / "packing.sqlite"),
    }

    def run(*command: str) -> str:
        done = core.run(*command, folder=project, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status() -> tuple[int, int]:
        told = json.loads(run(COMMAND, "producer", "status", "-a", "shop:Shop", "--json"))
        return told["position"], told["head"]

    run("python", "-c", SAVE_AN_ORDER)
    assert status() == (0, 1)
    with subprocess.Popen(
        [core.bin / COMMAND, "producer", "relay", "-a", "shop:Shop", "--quiet"],
        env=core.variables(variables),
        cwd=project,
    ) as relay:
        try:
            while status() != (1, 1):
                assert relay.poll() is None
        finally:
            relay.terminate()
    assert relay.returncode == 0
    by_module = ("python", "-m", "eventsourcing_kafka")
    command = (*by_module, "consumer", "status", "--system", "shop:system", "--json")
    told = core.run(*command, folder=project, **variables)
    assert {row["view"] for row in json.loads(told.stdout)} == {"packing_shop"}
    assert told.returncode == 1
    assert "packing_shop has not run yet" in told.stderr
    for part in PARTS:
        own = core.run("python", "-c", f"import {part}", folder=project)
        assert f"this is our own {part}" in own.stderr


@pytest.fixture
def orders(
    tmp_path: Path, kafka: Kafka, postgres: Postgres, database: Callable[[str], str], token: str
) -> Path:
    """A package of somebody else's, with a pipeline: two views, and two followers in a row."""
    shop = ROOT / "tests" / "anywhere" / "shop"
    shutil.copytree(shop, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": f"{token}.",
        "KAFKA_GROUP_PREFIX": f"{token}.",
        **postgres_environment(postgres, {"SHOP": database("orders")}),
    }
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    written = (shop / "pipeline.toml").read_text().replace("[settings]\n", f"[settings]\n{lines}")
    (tmp_path / "pipeline.toml").write_text(
        written.replace('settings.POSTGRES_DBNAME = "trucks"', "")
    )
    return tmp_path


RUN = {
    "relay": ("producer", "relay", "-a"),
    "consumer": ("consumer", "run"),
    "follower": ("compose", "run"),
}
"""How a part of a pipeline is run by what it is called there."""

PLACE_AND_PAY = """
from shop.application import Shop

with Shop() as shop:
    for customer in ("Ada", "Bob"):
        shop.pay(shop.place(customer, 100))
"""


@pytest.mark.timeout(400)  # six programs, and a dozen of commands, each of which starts Python
def test_a_package_of_somebody_else_s_has_all_that_the_wiki_has(
    core: Environment, orders: Path
) -> None:
    def run(*command: str, code: int = 0) -> str:
        done = core.run(COMMAND, *command, folder=orders)
        assert done.returncode == code, done.stderr
        return done.stdout

    def records() -> Counter[str]:
        found: Counter[str] = Counter()
        # A view that has not begun yet is no success, and is told all the same.
        status = core.run(COMMAND, "consumer", "status", "--json", folder=orders)
        for row in json.loads(status.stdout):
            found[row["view"]] += row["records"]
        return found

    checked = json.loads(run("compose", "check", "--json"))
    runs = checked["runs"]
    assert len(runs) == 6
    placed = core.run("python", "-c", PLACE_AND_PAY, folder=orders, **checked["settings"])
    assert placed.returncode == 0, placed.stderr
    with ExitStack() as exits:
        for part in runs:
            kind, name = part.split()
            exits.enter_context(core.running(orders, *RUN[kind], name))
        while records() != {"orders": 4, "sales": 4, "packing_shop": 4, "shipping_packing": 2}:
            pass
        assert json.loads(run("compose", "top", "--json"))["relays"]["Packing"]["gap"] == 0
    report = json.loads(run("compose", "audit", "--json", code=1))
    assert report["findings"] == []
    omitted = {view["view"] for view in report["views"] if view["omitted"]}
    assert omitted == {"sales", "packing_shop", "shipping_packing"}
    run("compose", "audit", "--no-rows")
    for name in ("orders", "shipping_packing"):
        assert json.loads(run("consumer", "parked", "list", "--view", name, "--json")) == []
    assert "User:shipping" in run("compose", "grants", "kafka")
    assert f"{orders}" not in run("compose", "files", "cluster")
    refused = core.run(COMMAND, "consumer", "replay", "packing_shop", "--yes", folder=orders)
    assert "may record events of its own" in refused.stderr
    run("consumer", "replay", "sales", "--yes")


@pytest.fixture(scope="module")
def full(wheel: Path) -> Iterator[Environment]:
    """The pipeline with the extra that brings servers, the window, and the kit for tests."""
    with tempfile.TemporaryDirectory(prefix="full-") as folder:
        Path(folder).chmod(0o755)
        environment = Environment(Path(folder, "environment"))
        environment.install(wheel, "--extra", "compose")
        yield environment


def records_of(environment: Environment, folder: Path, view: str) -> int:
    told = environment.run(COMMAND, "consumer", "status", view, "--json", folder=folder)
    assert told.returncode == 0, told.stderr
    return sum(row["records"] for row in json.loads(told.stdout))


@contextmanager
def signed_in(address: str, process: subprocess.Popen[str]) -> Iterator[Client]:
    """Look through a window as an operator, once it is there."""
    with Client(base_url=address) as browser:
        while True:
            assert process.poll() is None
            with suppress(TransportError):
                form = browser.get("/sign-in").raise_for_status().text
                break
        (token,) = re.findall('name="token" value="(.+?)"', form)
        browser.post("/sign-in", data={"name": "operator", "token": token})
        yield browser


@pytest.mark.timeout(400)
def test_the_window_shows_a_package_of_somebody_else_s_and_who_has_audited_it(
    full: Environment, orders: Path
) -> None:
    settings = tomllib.loads((orders / "pipeline.toml").read_text())["settings"]
    variables = {name: str(value) for name, value in settings.items()}
    placed = full.run("python", "-c", PLACE_AND_PAY, folder=orders, **variables)
    assert placed.returncode == 0, placed.stderr
    port = free_port()
    with (
        full.running(orders, "producer", "relay", "-a", "Shop"),
        full.running(orders, "consumer", "run", "orders"),
        full.running(orders, "compose", "window", "--port", str(port)) as window,
        signed_in(f"http://127.0.0.1:{port}", window) as browser,
    ):
        while records_of(full, orders, "orders") < 4:
            pass
        shown = browser.get("/pipeline").text
        for card in ("outbox-shop", "relay-packing", "view-orders", "view-shipping_packing"):
            assert f'id="{card}"' in shown
        assert "None is known of." in shown

        audited = full.run(COMMAND, "compose", "audit", "orders", folder=orders)
        assert audited.returncode == 0, audited.stderr

        while "begun by" not in (shown := browser.get("/pipeline").text):
            assert window.poll() is None
        assert audited.stdout.strip() in html.unescape(shown)


TEST_OF_ORDERS = """
import pytest

from eventsourcing_kafka.testing import PipelineUnderTest, ViewUnderTest
from shop.views import ORDERS

pytestmark = pytest.mark.anyio

async def test_given_events_then_rows(database_settings):
    async with ViewUnderTest(ORDERS, database_settings) as orders:
        orders.application.place("Ada", 100)
        await orders.apply()
        assert await orders.rows("SELECT customer FROM {schema}.orders") == [("Ada",)]

async def test_a_whole_pipeline(environment):
    async with PipelineUnderTest([ORDERS], environment) as shop:
        await shop.do(shop.application.place, "Bob", 100)
        await shop.applied()
        assert await shop.rows(ORDERS, "SELECT customer FROM {schema}.orders") == [("Bob",)]
"""


def test_the_kit_tests_a_package_of_somebody_else_s(full: Environment, orders: Path) -> None:
    full.add(f"pytest=={metadata.version('pytest')}")
    (orders / "conftest.py").write_text('pytest_plugins = ["eventsourcing_kafka.testing.plugin"]\n')
    (orders / "test_orders.py").write_text(TEST_OF_ORDERS)

    command = ("python", "-m", "pytest", "-k", "asyncio", "test_orders.py")
    tested = full.run(*command, folder=orders, EVENTSOURCING_KAFKA_CACHE=str(cache()))

    assert "2 passed" in tested.stdout, tested.stdout


def test_every_help_is_shown_beside_a_project_of_its_own(core: Environment, project: Path) -> None:
    shown = core.run("python", "-c", HELP_OF_ALL, folder=project)

    assert shown.returncode == 0, shown.stderr
    assert len(re.findall(r"^ Usage: ", shown.stdout, re.MULTILINE)) > len(PARTS)


def test_the_version_is_told(core: Environment) -> None:
    by_name = core.run(COMMAND, "--version")
    by_module = core.run("python", "-m", "eventsourcing_kafka", "--version")

    assert by_name.stdout == by_module.stdout == f"{COMMAND} {PROJECT['version']}\n"


def test_what_is_told_of_the_distribution_is_whole(core: Environment) -> None:
    told = core.run(
        "python", "-c", f"from importlib.metadata import *; print(metadata('{COMMAND}'))"
    )

    for wanted in ("Typing :: Typed", "Framework :: AsyncIO", "License-Expression: BSD-3-Clause"):
        assert wanted in told.stdout
    for url in ("Homepage", "Repository", "Documentation", "Changelog"):
        assert f"Project-URL: {url}, " in told.stdout


def test_the_command_is_all_three_command_lines(core: Environment) -> None:
    listed = core.run(COMMAND, "--help")
    assert listed.returncode == 0, listed.stderr
    assert all(part in listed.stdout for part in ("producer", "consumer", "compose"))
    by_name = core.run(COMMAND, "consumer", "status")
    by_module = core.run("python", "-m", "eventsourcing_kafka", "consumer", "status")
    assert by_name.returncode == by_module.returncode == 1
    assert "set ACTIVITY_POSTGRES_DBNAME, or POSTGRES_DBNAME" in by_name.stderr
    assert "eventsourcing-kafka compose env" in by_name.stderr
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
