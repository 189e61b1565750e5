"""The plugin's servers: nothing of a session stays for ever when it is killed."""

import os
import tempfile
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.servers.processes import LOCK_FILE, lock_folder
from eventsourcing_kafka.testing.plugin import DATA, PREFIX, server_folder


def test_what_a_killed_session_has_left_goes_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # TMPDIR is looked at once.
    killed, living, begun = (tmp_path / f"{PREFIX}kafka-{name}" / DATA for name in "abc")
    with lock_folder(killed):
        (killed / "records").touch()
    begun.mkdir(parents=True)
    (begun / LOCK_FILE).touch()

    with lock_folder(living), server_folder("kafka") as made:
        assert not killed.parent.exists()
        assert (living / LOCK_FILE).read_text() == f"{os.getpid()}\n"
        assert (begun / LOCK_FILE).exists()
        assert made.parent.parent == tmp_path
    assert not made.parent.exists()
