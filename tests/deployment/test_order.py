"""Whatever is deployed first, no event is lost or altered: each cell of the table in the docs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import ROOT

from .changes import CHANGES, USUAL, Change

OUTDATED = {"OutdatedError", "UnknownEventTypeError"}

pytestmark = pytest.mark.usefixtures("programs")


def acting(folder: Path, module: str, code: str, theirs: Any) -> Any:
    """Return what a process does with this code, and with what others have stored."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "tests.deployment.acting", module],
        input=json.dumps(theirs),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(folder)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def before(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the old code has stored, and makes of that."""
    return acting(tmp_path_factory.mktemp("before") / "old", "shop", USUAL, [])


@pytest.fixture(scope="module", params=CHANGES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def change(name: str) -> Change:
    return CHANGES[name]


@pytest.fixture(scope="module")
def new(before: Any, change: Change, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the new code makes of its own, and of what the old code has stored."""
    folder = tmp_path_factory.mktemp("new") / "code"
    return acting(folder, change.module, change.after, before["stored"])


@pytest.fixture(scope="module")
def old(new: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the old code makes of what the new code has stored."""
    return acting(tmp_path_factory.mktemp("old") / "code", "shop", USUAL, new["stored"])


def test_the_application_first(change: Change, old: Any, new: Any) -> None:
    theirs, updated = old["theirs"]["followed"], new["own"]["followed"]

    assert old["theirs"]["records"] == new["own"]["records"]
    assert updated == new["own"]["in the library"]
    if change.old_reads_new:
        assert [event for event, _ in theirs] == [event for event, _ in updated]
    else:
        assert_stops(theirs, updated)


def test_the_relay_first(before: Any, new: Any) -> None:
    assert new["theirs"]["records"] == before["own"]["records"]
    assert before["own"]["followed"] == before["own"]["in the library"]


def test_the_follower_first(change: Change, before: Any, new: Any) -> None:
    if change.new_reads_old:
        assert new["theirs"]["followed"] == new["theirs"]["in the library"]
    else:
        assert_stops(new["theirs"]["followed"], before["own"]["followed"])


def assert_stops(followed: Any, right: Any) -> None:
    """Assert that a follower stops before what it can't read, and reads the rest as it is."""
    stopped = [text for kind, text in followed if kind in OUTDATED]
    assert stopped
    assert all("update" in text for text in stopped)
    for (kind, text), expected in zip(followed, right, strict=True):
        assert kind in OUTDATED or [kind, text] == expected
