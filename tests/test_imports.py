"""What one may import is on a page; and nobody is given the wiki who does not ask for it."""

import re
import subprocess
import sys

import pytest

import eventsourcing_kafka
from tests.pipeline import ROOT

PAGE = (ROOT / "docs" / "IMPORTS.md").read_text()
OURS = "eventsourcing_kafka"
SAMPLES = (
    "producer.contentmanagement",
    "producer.importer",
    "consumer.views.fts",
    "consumer.views.activity",
    "compose.web",
    "compose.stack.demo",
)


def test_the_page_has_what_all_has() -> None:
    table = PAGE.partition("| name |")[2].partition("\n\n")[0]
    named = [
        name
        for row in table.splitlines()
        for name in re.findall(r"`(\w+)`", row.partition("|")[2].partition("|")[0])
    ]

    assert len(named) == len(set(named))
    assert sorted(named) == sorted(eventsourcing_kafka.__all__)


def test_all_is_what_is_found_and_what_types_are_told_of() -> None:
    assert sorted(eventsourcing_kafka._MODULES) == sorted(eventsourcing_kafka.__all__)
    for name in eventsourcing_kafka.__all__:
        assert getattr(eventsourcing_kafka, name) is not None
        assert name in dir(eventsourcing_kafka)
    typed = (ROOT / ".package" / OURS / "__init__.py").read_text().partition("_WHERE")[0]
    assert all(re.search(rf"\b{name}\b", typed) for name in eventsourcing_kafka.__all__)


def test_nothing_else_is_found() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        eventsourcing_kafka.Nothing  # noqa: B018 - it is asked for, and that is all


def test_the_names_for_tests_are_those_of_the_kit() -> None:
    from eventsourcing_kafka import testing
    from eventsourcing_kafka.testing import plugin

    told = PAGE.partition("Tests import")[2].partition("\n\n")[0]
    for name in testing.__all__:
        assert f"`{name}`" in told
    for fixture in re.findall(r"`(\w+)`", told.partition("fixtures are")[2]):
        assert hasattr(plugin, fixture), fixture


def test_each_version_that_is_released_has_its_changes() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert version
    assert f"\n## {version[1]}\n" in changes


WINDOW = "from eventsourcing_kafka.compose.web.pipeline.app import window_app"

PROGRAMS = {
    "all names": "from eventsourcing_kafka import *",
    "the kit": "import eventsourcing_kafka.testing",
    "one name": "from eventsourcing_kafka import View",
    **{
        " ".join(words): (
            "import sys; from eventsourcing_kafka.__main__ import main\n"
            f"sys.argv[1:] = {[*words, '--help']}\n"
            "try: main()\nexcept SystemExit: pass"
        )
        for words in (
            ("producer", "relay"),
            ("producer", "schema"),
            ("consumer", "run"),
            ("consumer", "parked", "list"),
            ("compose", "run"),
            ("compose", "top"),
            ("compose", "audit"),
        )
    },
}


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("program", PROGRAMS)
def test_nobody_has_the_wiki_who_does_not_ask(program: str) -> None:
    told = "import sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{PROGRAMS[program]}\n{told}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    modules = [name.removeprefix(f"{OURS}.") for name in done.stderr.split()]

    assert "eventsourcing" in modules
    samples = [name for name in modules if name.startswith(SAMPLES) or name == "examples"]
    # The commands of `compose` list the one that shows pages; what it shows is not there.
    listed = ["compose.web", "compose.web.commands"] if program.startswith("compose") else []
    assert samples == listed


@pytest.mark.usefixtures("programs")
def test_the_window_is_there_without_the_wiki() -> None:
    told = f"{WINDOW}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules = [name.removeprefix(f"{OURS}.") for name in done.stdout.split()]

    wikis = [*SAMPLES, "compose.web.wiki", "compose.web.api", "compose.web.app"]
    wikis.remove("compose.web")
    assert [name for name in modules if name.startswith(tuple(wikis))] == []
