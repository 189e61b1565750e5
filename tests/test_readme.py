"""The README is true: what it says to type works, from the top to the bottom, in one shell."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pygit2
import pytest

from tests.pages import Block, Desk, blocks, lost_links
from tests.pipeline import ROOT

README = ROOT / "README.md"
BLOCKS = blocks(README)
SHORT = 160
"""Lines. All else is on the pages of `docs`."""

# The environment is the one that runs the tests; those may be run by make themselves.
MAKE = ("make", "--no-print-directory", "--assume-old=.venv/installed")


def is_make(block: Block) -> bool:
    return block.commands[0].startswith("make ")


MADE = [command for block in BLOCKS if is_make(block) for command in block.commands]
TYPED = [block for block in BLOCKS if not is_make(block)]


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
    assert {block.language for block in BLOCKS} == {"sh", "python"}
    assert MADE
    assert {block.language for block in TYPED} == {"sh", "python"}
    assert len([block for block in TYPED if block.runs]) == 1


def test_its_links_lead_somewhere() -> None:
    assert lost_links(README) == []
    assert lost_links(ROOT / "CHANGELOG.md") == []


def test_a_link_that_leads_nowhere_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here\n\n[a](#here) [b](#there) [c](page.md#here) [d](nowhere.md)\n")

    assert lost_links(page) == ["#there", "nowhere.md"]


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) <= SHORT


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
    _, _, last = demo.stderr.partition("Next, an application of your own")
    (page,) = re.findall(r"docs/\w+\.md", last)
    assert (ROOT / page).is_file()
    assert re.findall(r"eventsourcing-kafka compose (\w+)", last) == ["check", "up"]


def test_what_is_typed_works_word_for_word(checkout: Path, shell: dict[str, str]) -> None:
    with Desk(checkout, shell) as desk:
        printed = desk.work(TYPED)

    for block, text in printed.items():
        if "import-git" in block.text:
            assert "imported 2 commits" in text
            assert "unaltered" in text
        if "Parcels packed" in block.text:
            assert text.endswith("Parcels packed: 1\n")
