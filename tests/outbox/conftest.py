"""The write model on each of the library's persistence modules, and writers of its events."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.layers import SERVERS, on

from .writers import Table


@pytest.fixture(params=["popo", "sqlite", on("postgres", needs=SERVERS)])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentManagement]:
    settings = {
        "PERSISTENCE_MODULE": f"eventsourcing.{request.param}",
        "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
    }
    if request.param == "postgres":
        settings = request.getfixturevalue("environment")
    with ContentManagement(settings) as app:
        yield app


@pytest.fixture
def recorder(environment: dict[str, str]) -> Iterator[PostgresApplicationRecorder]:
    with ContentManagement({**environment, "POSTGRES_ENABLE_DB_FUNCTIONS": "y"}) as app:
        assert isinstance(app.recorder, PostgresApplicationRecorder)
        yield app.recorder


@pytest.fixture
def table(recorder: PostgresApplicationRecorder) -> Table:
    return Table(recorder)
