"""A relay that is started before its database is there."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from anyio import to_thread

from tests.operations.child import child
from tests.pipeline import RELAY

DBNAME = "CONTENTMANAGEMENT_POSTGRES_DBNAME"


@pytest.fixture
def early(environment: dict[str, str], token: str) -> dict[str, str]:
    """Settings that name a database which has yet to be made."""
    return environment | {DBNAME: f"{token}_late"}


@pytest.mark.usefixtures("programs")
async def test_it_waits_and_says_why(
    early: dict[str, str], database: Callable[[str], str], tmp_path: Path
) -> None:
    async with child(early, tmp_path / "log", *RELAY, module="eventsourcing_kafka") as relay:
        await relay.says("relay of ContentManagement: waiting for its server: .*does not exist")
        await to_thread.run_sync(database, "late")
        await relay.says("relay of ContentManagement: back")
        await relay.says("publishing after position 0")


@pytest.mark.usefixtures("programs")
async def test_told_to_stop_while_it_waits_it_ends(early: dict[str, str], tmp_path: Path) -> None:
    async with child(early, tmp_path / "log", *RELAY, module="eventsourcing_kafka") as relay:
        await relay.says("waiting for its server")
        relay.send(signal.SIGTERM)
        assert await relay.ends() == 0
