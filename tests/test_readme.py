"""The README is true: what it says to type works, from the top to the bottom, in one shell."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pygit2
import pytest

from tests.pages import Block, blocks
from tests.pipeline import ROOT

README = ROOT / "README.md"
ELSEWHERE = "Reading the topic from elsewhere"
"""What is in that section reads for ever, or needs other tools: `tests.language` runs it."""
BLOCKS = [block for block in blocks(README) if block.section != ELSEWHERE]
NOT_OURS = {"docker"}
"""Blocks that begin with one of these are left out where it is not installed."""

# The environment is the one that runs the tests; those may be run by make themselves.
MAKE = ("make", "--no-print-directory", "--assume-old=.venv/installed")
READY = ("Point a shell at it", "consumer fts: 0 records", "consumer activity: 0 records")


def is_make(block: Block) -> bool:
    return block.commands[0].startswith("make ")


def keeps_running(block: Block) -> bool:
    return " compose up" in block.commands[0]


def is_there(block: Block) -> bool:
    program = block.commands[0].split()[0]
    return program not in NOT_OURS or shutil.which(program) is not None


MADE = [command for block in BLOCKS if is_make(block) for command in block.commands]
STACKS = [block for block in BLOCKS if keeps_running(block)]
TYPED = [
    block for block in BLOCKS if is_there(block) and not is_make(block) and not keeps_running(block)
]


@pytest.fixture
def checkout(programs: None) -> Iterator[Path]:
    """A small repository of somebody's, with this tree's commands in it.

    Not in pytest's folder, which a second run of the tests takes from Postgres' user.
    """
    with tempfile.TemporaryDirectory(prefix="checkout-") as folder:
        fill(Path(folder))
        yield Path(folder)


def fill(folder: Path) -> None:
    repository = pygit2.init_repository(str(folder), initial_head="main")
    ann = pygit2.Signature("Ann", "ann@example.org")
    for text in ("kafka\n", "kafka in python\n"):
        (folder / "streams.md").write_text(text)
        (folder / "coffee.md").write_text("kafka, and java\n")
        repository.index.add_all(["streams.md", "coffee.md"])
        parents = [] if repository.head_is_unborn else [repository.head.target]
        tree = repository.index.write_tree()
        repository.create_commit("HEAD", ann, ann, "more", tree, parents)
    (folder / ".venv").symlink_to(ROOT / ".venv")


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which no stack was ever started."""
    ours = re.compile("KAFKA_|POSTGRES_|CONTENTMANAGEMENT_|FTS_|ACTIVITY_|PERSISTENCE_")
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return kept | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}


def run(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_every_block_is_run_by_one_of_these_tests() -> None:
    assert ELSEWHERE in {block.section for block in blocks(README)}
    assert {block.language for block in BLOCKS} == {"sh", "python"}
    assert len(STACKS) == 1
    assert MADE
    assert {block.language for block in TYPED} == {"sh", "python"}


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("command", MADE)
def test_every_target_is_there_and_calls_what_is_there(command: str) -> None:
    dry = run([*MAKE, "--dry-run", *command.split()[1:]], ROOT, dict(os.environ))
    assert dry.returncode == 0, dry.stderr
    called = re.findall(r"python -m ([\w.]+)", dry.stdout)
    assert called
    assert all(find_spec(f"{module}.__main__") for module in called)


def test_the_demo_ends_with_what_is_promised(checkout: Path, shell: dict[str, str]) -> None:
    demo = run([*MAKE, "demo", f"REPO={checkout}"], ROOT, shell)
    assert demo.returncode == 0, demo.stderr
    said = "verified: N pages identical in the write model and the search view"
    assert said in README.read_text()
    assert demo.stdout.endswith(f"{said.replace('N', '2')}\n")


@pytest.fixture
def stack(checkout: Path, shell: dict[str, str]) -> Iterator[None]:
    """What is kept running in one terminal, once it shows that all is well."""
    (block,) = STACKS
    with subprocess.Popen(
        ["sh", "-c", f"exec {block.text}"],
        cwd=checkout,
        env=shell,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout
        awaited, said = set(READY), ""
        for line in running.stdout:
            said += line
            awaited -= {words for words in awaited if words in line}
            if not awaited:
                break
        assert not awaited, said
        Thread(target=running.stdout.read).start()
        yield
        running.terminate()


@pytest.mark.usefixtures("stack")
def test_what_is_typed_in_another_terminal_works_word_for_word(
    checkout: Path, shell: dict[str, str]
) -> None:
    for number, block in enumerate(TYPED):
        (checkout / f"{number}.{block.language}").write_text(block.text)
    runs = {"sh": ".", "python": "python"}
    script = "\n".join(
        f"echo '=== {number}'; {runs[block.language]} ./{number}.{block.language}"
        for number, block in enumerate(TYPED)
    )
    typed = run(["sh", "-ec", script], checkout, shell)
    assert typed.returncode == 0, f"{typed.stdout}\n{typed.stderr}"
    printed = dict(
        zip(TYPED, re.split(r"^=== \d+\n", typed.stdout, flags=re.MULTILINE)[1:], strict=True)
    )
    for block, text in printed.items():
        if "import-git" in block.text:
            assert "imported 2 commits" in text
            assert "unaltered" in text
        if "Parcels packed" in block.text:
            assert text.endswith("Parcels packed: 1\n")
