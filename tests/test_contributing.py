"""The page for those who change this is true, and names first what comes first."""

import re
import shlex
import subprocess
import tomllib
from importlib.util import find_spec

import pytest

from tests.layers import INTEGRATION, QUICK, SLOW
from tests.pages import blocks
from tests.pipeline import ROOT

FILE = ROOT / "docs" / "CONTRIBUTING.md"
PAGE = FILE.read_text()
COMMANDS = [command for block in blocks(FILE) for command in block.commands]


def test_the_first_thing_is_what_needs_no_server() -> None:
    assert COMMANDS[0] == "make quick"


def test_every_layer_is_told_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    markers = project["tool"]["pytest"]["ini_options"]["markers"]
    told = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)

    assert told == [QUICK, INTEGRATION, SLOW]
    assert {marker.split(":")[0] for marker in markers} >= set(told)


def test_the_files_and_folders_that_it_names_are_there() -> None:
    named = set(re.findall(r"`((?:tests|examples|\.package)[\w/.]*)`", PAGE))

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("command", COMMANDS)
def test_what_it_says_to_type_is_there(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        make = ["make", "--dry-run", "--assume-old=.venv/installed", *arguments]
        dry = subprocess.run(make, cwd=ROOT, check=False, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr
        command = dry.stdout
    modules = re.findall(r"python -m ([\w.]+)", command)
    assert all(find_spec(module) for module in modules)
    assert modules or ".venv/bin/ruff" in command
