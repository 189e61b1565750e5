"""All commands look and feel the same: examples, `--json`, `--quiet`, colours, exit codes."""

import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from eventsourcing_kafka.__main__ import NEW_OBJECTS, app
from eventsourcing_kafka.compose.stack.sample import APPLICATION
from tests.importer.repositories import Repository
from tests.pipeline import ROOT

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
ESCAPE = "\x1b["

RUN_UNTIL_STOPPED = {
    "producer relay",
    "consumer run",
    "compose run",
    "compose up",
    "compose web",
    "compose window",
}
SHOW = {"compose demo", "compose grants", "compose kafka", "producer schema"}
"""What these print is for people only, or Kafka's, or a document in a format of its own."""


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield a command and those below it, with what is typed to reach them."""
    yield name, command
    if isinstance(command, TyperGroup):
        context = command.make_context(name, [], resilient_parsing=True)
        for each in command.list_commands(context):
            yield from walk(command.get_command(context, each), f"{name} {each}".strip())


COMMANDS = dict(walk(typer.main.get_command(app), ""))
LEAVES = {name: each for name, each in COMMANDS.items() if not isinstance(each, TyperGroup)}


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def parse(arguments: list[str]) -> str:
    """Parse a command line as it is parsed when it is run; return the name of the command."""
    command, name = typer.main.get_command(app), ""
    context = command.make_context("", list(arguments))
    while isinstance(command, TyperGroup):
        word, found, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert found
        command, name = found, f"{name} {word}".strip()
        context = command.make_context(word, rest, parent=context)
    return name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_examples_that_can_be_typed(name: str) -> None:
    examples = re.findall(r"^ *Example: (.+)$", COMMANDS[name].help, re.MULTILINE)
    assert examples
    for example in examples:
        typed = shlex.split(re.sub(r'^eval "\$\((.+)\)"$', r"\1", example))
        program, *arguments = typed
        assert program == "eventsourcing-kafka"
        parsed = parse(arguments)
        assert parsed == name or (name not in LEAVES and parsed.startswith(name))


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_can_be_quiet_and_prints_json_if_it_has_a_result(name: str) -> None:
    assert {"--quiet", "-q"} <= options(LEAVES[name])
    wanted = name not in RUN_UNTIL_STOPPED | SHOW
    assert ("--json" in options(LEAVES[name])) is wanted


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventsourcing_kafka", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(variables),
    )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    unwanted = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")
    return {
        **{name: value for name, value in os.environ.items() if name not in unwanted},
        "TERM": "xterm-256color",
        **variables,
    }


def on_a_terminal(*command: str, **variables: str) -> str:
    """Run a command with a terminal for its output."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "eventsourcing_kafka", *command],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=ROOT,
        env=environment(variables),
    ):
        os.close(its)
        printed = b""
        try:
            while part := os.read(ours, 1 << 16):
                printed += part
        except OSError:
            pass  # Linux says so that nobody has the other end any more.
        os.close(ours)
    return printed.decode()


TELL_OF_THE_COLLECTOR = """
import gc, sys
from eventsourcing_kafka.__main__ import main
print(gc.get_threshold()[0], gc.get_freeze_count())
sys.argv[1:] = ["producer", "relay", "--help"]
try:
    main()
except SystemExit:
    print(gc.get_threshold()[0], gc.get_freeze_count())
"""


@pytest.mark.usefixtures("programs")
def test_only_the_program_sets_the_garbage_collector() -> None:
    told = subprocess.run(
        [sys.executable, "-c", TELL_OF_THE_COLLECTOR], capture_output=True, check=True, text=True
    )
    before, *_, after = told.stdout.splitlines()
    assert before == "700 0"
    threshold, frozen = map(int, after.split())
    assert threshold == NEW_OBJECTS
    assert frozen > 0


WRONG = ("consumer", "status", "nowhere")


@pytest.mark.usefixtures("programs")
def test_colours_are_for_terminals_that_have_not_said_no() -> None:
    assert COLOUR.search(on_a_terminal(*WRONG))
    assert not COLOUR.search(on_a_terminal(*WRONG, NO_COLOR="1"))
    piped = run(*WRONG)
    assert ESCAPE not in piped.stdout + piped.stderr


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_what_an_output_can_not_show_does_not_end_a_command(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import typer\nfrom eventsourcing_kafka.producer.runtime.cli import run_commands\n"
        "def main(): typer.echo('a \\U0001f339 rose')\n"
        "app = typer.Typer()\napp.command()(main)\nrun_commands(app)\n"
    )
    done = subprocess.run(
        [sys.executable, "shop.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    rose = "\U0001f339" if encoding == "utf-8" else "\\U0001f339"
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding) == f"a {rose} rose\n"


@pytest.mark.usefixtures("programs")
def test_what_is_wrong_is_one_line_and_exit_code_1() -> None:
    wrong = run(*WRONG)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == (
        "error: There is no view 'nowhere'. There are: activity, fts. "
        "One that is not installed is named by where it is: module:VIEW\n"
    )


RUNNER = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"})


def invoke(*arguments: str, **variables: str) -> Any:
    return RUNNER.invoke(app, list(arguments), env=variables)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["consumer", "serach", "x"], "Did you mean 'search'?"),
        (["consumer", "parked", "rety"], "Did you mean 'retry'?"),
        (["producer", "status", "--jsn"], "--json"),
        (["compose", "up", "--olny", "kafka"], "--only"),
        (["compose", "up", "--only", "zookeeper"], "there are kafka, postgres, relay"),
        (["consumer", "search"], "Missing argument"),
    ],
)
def test_what_is_called_wrongly_is_answered_with_what_is_right_and_exit_code_2(
    arguments: list[str], nearest: str
) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert nearest in result.stderr


def test_quiet_is_results_only(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit({"a.md": "one\n"})
    variables = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
    }
    arguments = ("producer", "import-git", str(repository.path))
    loud = invoke(*arguments, **variables)
    quiet = invoke(*arguments, "--quiet", **variables)
    assert loud.exit_code == quiet.exit_code == 0
    assert "imported 1 of 1 commits" in loud.stderr
    assert quiet.stderr == ""
    assert quiet.stdout


@pytest.fixture
def mute(programs: None) -> Iterator[socket.socket]:
    """A server that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(
    "command",
    [("consumer", "status", "fts"), ("producer", "status", "--json"), ("compose", "audit")],
    ids=" ".join,
)
def test_what_is_interrupted_before_its_end_exits_with_130(
    command: tuple[str, ...], mute: socket.socket
) -> None:
    host, port = mute.getsockname()
    variables = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": host,
        "POSTGRES_PORT": str(port),
        "POSTGRES_USER": "nobody",
        "POSTGRES_PASSWORD": "nothing",
        "POSTGRES_DBNAME": "none",
        "KAFKA_BOOTSTRAP_SERVERS": f"{host}:{port}",
        "APPLICATION_TOPIC": APPLICATION,
    }
    # Who runs the tests in the background has all that they start ignore interrupts.
    heard = ("env", "--default-signal=INT")
    with (
        subprocess.Popen(
            [*heard, sys.executable, "-m", "eventsourcing_kafka", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(variables),
            text=True,
        ) as process,
        mute.accept()[0],
    ):
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    assert (process.returncode, printed) == (130, "")


@pytest.mark.parametrize(
    "command",
    [
        ("consumer", "status", "fts"),
        ("consumer", "status", "--system", "tests.hosting.nursing:ward"),
    ],
    ids=" ".join,
)
def test_where_no_database_is_named_it_is_said_which_setting_names_one(
    command: tuple[str, ...],
) -> None:
    unset = {"PERSISTENCE_MODULE": "eventsourcing.postgres", "POSTGRES_DBNAME": ""}
    result = CliRunner(env=unset).invoke(app, command)

    assert re.search(r"set [A-Z]+_POSTGRES_DBNAME, or POSTGRES_DBNAME", str(result.exception))
    assert "eventsourcing-kafka compose env" in str(result.exception)
