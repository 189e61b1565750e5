"""The write model on each of the library's persistence modules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.layers import on


@pytest.fixture(params=["popo", "sqlite", on("postgres", needs={"postgres"})])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    if request.param == "postgres":
        database, server = map(request.getfixturevalue, ("database", "postgres"))
        return postgres_environment(server, {"CONTENTMANAGEMENT": database("contentmanagement")})
    return {
        "PERSISTENCE_MODULE": f"eventsourcing.{request.param}",
        "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
    }


@pytest.fixture
def app(settings: dict[str, str]) -> Iterator[ContentManagement]:
    with ContentManagement(settings) as app:
        yield app
