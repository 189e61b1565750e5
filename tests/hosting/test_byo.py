"""The application of the README, run as anybody would: from a file of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import ROOT, SECONDS

CODE = re.compile(r"^## Your own application$.*?^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def example() -> str:
    (code,) = CODE.findall((ROOT / "README.md").read_text())
    return str(code)


def test_it_is_short() -> None:
    assert len([line for line in example().splitlines() if line]) < 30


@pytest.mark.usefixtures("programs")
def test_it_runs_as_it_is(env: dict[str, str], tmp_path: Path) -> None:
    """Twice: what was packed stays packed, and is not packed again."""
    program = tmp_path / "shop.py"
    program.write_text(example())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    for expected in ("Parcels packed: 1", "Parcels packed: 2"):
        done = subprocess.run(
            [sys.executable, program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
