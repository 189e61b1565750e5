"""The write model on each of the library's persistence modules, and writers of its events."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.layers import SERVERS, on
from tests.sqlalchemy import MODULE, url_of

from .writers import Table

THROUGH = "SQLAlchemy on "


@pytest.fixture(
    params=[
        *("popo", "sqlite", f"{THROUGH}sqlite"),
        *(on(name, needs=SERVERS) for name in ("postgres", f"{THROUGH}postgres")),
    ]
)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentManagement]:
    settings = {
        "PERSISTENCE_MODULE": f"eventsourcing.{request.param}",
        "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
    }
    if request.param.endswith("postgres"):
        settings = request.getfixturevalue("environment")
    if request.param.startswith(THROUGH):
        url = f"sqlite:///{tmp_path / 'wiki.sqlite'}"
        settings = {
            **settings,
            "PERSISTENCE_MODULE": MODULE,
            "SQLALCHEMY_URL": url_of(settings) if request.param.endswith("postgres") else url,
        }
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
