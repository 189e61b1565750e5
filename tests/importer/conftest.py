"""Git repositories made for a test, and a wiki to import them into."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement

from .repositories import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def app() -> Iterator[ContentManagement]:
    with ContentManagement({"PERSISTENCE_MODULE": "eventsourcing.popo"}) as app:
        yield app
