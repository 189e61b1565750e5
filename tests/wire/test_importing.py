"""What reads a record has no use for a terminal."""

import subprocess
import sys

import pytest

NAME = "eventsourcing_kafka.producer"
FOR_A_TERMINAL = {"typer", "click", "rich"}


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("room", ["wire", "wire.tracing", "kafka.clients", "kafka.topics"])
def test_reading_a_record_needs_nothing_that_is_for_a_terminal(room: str) -> None:
    program = f"import sys, {NAME}.{room}; print(*sys.modules)"
    python = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    imported = set(python.stdout.decode().split())

    assert f"{NAME}.{room}" in imported
    assert FOR_A_TERMINAL.isdisjoint(imported)
