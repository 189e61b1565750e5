"""The write model on each of the library's persistence modules, and writers of its events."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eventsourcing.postgres import PostgresApplicationRecorder

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.conftest import settings
from tests.layers import SERVERS, on
from tests.sqlalchemy import MODULE, url_of

from .writers import Table

THROUGH = "SQLAlchemy on "


@pytest.fixture
def environment(
    kafka: Kafka, postgres: Postgres, database: Callable[[str], str], token: str
) -> dict[str, str]:
    """The settings of a write model and its topics. Nobody here has a view."""
    return settings(kafka, postgres, database, token, views=False)


@pytest.fixture(
    params=[
        *("popo", "sqlite", f"{THROUGH}sqlite"),
        *(on(name, needs=SERVERS) for name in ("postgres", f"{THROUGH}postgres")),
    ]
)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContentManagement]:
    stored = {
        "PERSISTENCE_MODULE": f"eventsourcing.{request.param}",
        "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
    }
    if request.param.endswith("postgres"):
        stored = request.getfixturevalue("environment")
    if request.param.startswith(THROUGH):
        url = f"sqlite:///{tmp_path / 'wiki.sqlite'}"
        stored = {
            **stored,
            "PERSISTENCE_MODULE": MODULE,
            "SQLALCHEMY_URL": url_of(stored) if request.param.endswith("postgres") else url,
        }
    with ContentManagement(stored) as app:
        # The first transaction through SQLAlchemy sets SQLite's mode, and a second one beside it
        # may be refused, as `test_sqlalchemy` shows.
        app.recorder.max_notification_id()
        yield app


@pytest.fixture
def recorder(environment: dict[str, str]) -> Iterator[PostgresApplicationRecorder]:
    with ContentManagement({**environment, "POSTGRES_ENABLE_DB_FUNCTIONS": "y"}) as app:
        assert isinstance(app.recorder, PostgresApplicationRecorder)
        yield app.recorder


@pytest.fixture
def table(recorder: PostgresApplicationRecorder) -> Table:
    return Table(recorder)
