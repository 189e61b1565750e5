"""The layers are what they say, and the quick one needs no server."""

import shutil
import subprocess
import sys

import pytest

from .layers import NotQuickError, fixtures_of, layers, on


@pytest.mark.parametrize(
    ("fixtures", "markers"),
    [
        ((), ["quick"]),
        (("tmp_path", "token"), ["quick"]),
        (("kafka", "token"), ["integration"]),
        (("postgres", "programs"), ["integration", "slow"]),
        (("cassandra",), ["slow"]),
        (("programs",), ["slow"]),
    ],
)
def test_a_layer_is_told_by_the_fixtures(fixtures: tuple[str, ...], markers: list[str]) -> None:
    assert layers(fixtures) == markers


def test_every_test_is_of_the_layers_that_its_fixtures_tell(
    request: pytest.FixtureRequest,
) -> None:
    for item in request.session.items:
        marked = {mark.name for mark in item.iter_markers()} & {"quick", "integration", "slow"}
        assert marked == set(layers(fixtures_of(item))), item.nodeid


@pytest.mark.parametrize("needed", [on("nothing"), on("a broker", needs={"kafka"})])
def test_what_a_parameter_needs_counts_as_well(needed: str, request: pytest.FixtureRequest) -> None:
    assert ("kafka" in fixtures_of(request.node)) is (needed == "a broker")


@pytest.mark.parametrize("program", [sys.executable, "make", "java", "sh"])
def test_no_quick_test_starts_a_program_that_could_be_a_server(program: str) -> None:
    with pytest.raises(NotQuickError, match="has to use the fixture of a server"):
        subprocess.run([program, "--version"], check=True)


def test_what_is_harmless_is_started() -> None:
    git = shutil.which("git")
    assert git
    subprocess.run([git, "--version"], check=True, capture_output=True)
