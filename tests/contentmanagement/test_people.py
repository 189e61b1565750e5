"""The names of users, beside the events."""

import logging
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import psycopg
import pytest
from psycopg import sql

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.people import MOST_CHARS, People
from eventsourcing_kafka.producer.importer.git_import import GitImporter
from eventsourcing_kafka.producer.importer.history import History
from tests.importer.repositories import Repository

ANN, BOB, EVE = uuid4(), uuid4(), uuid4()


def test_people_are_known_by_the_last_name_they_gave_until_they_are_forgotten(
    app: ContentManagement, settings: dict[str, str]
) -> None:
    people = People(app)
    assert people.names([ANN, None]) == {}
    people.forget(ANN)
    people.remember({ANN: "Ann", BOB: " Bob\n\0 the\ud800  builder " + "x" * 99, EVE: "\0"})
    people.remember({ANN: "Anna"})
    kept = settings["PERSISTENCE_MODULE"] == "eventsourcing.postgres"
    bob = ("Bob the builder " + "x" * 99)[:MOST_CHARS]
    assert people.names([ANN, BOB, EVE, None, ANN]) == ({ANN: "Anna", BOB: bob} if kept else {})
    people.forget(ANN)
    assert ANN not in People(app).names([ANN])


def test_who_wrote_a_git_history_is_known_by_the_name_of_the_last_commit(
    environment: dict[str, str], tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    with ContentManagement(environment) as app:
        repository.commit({"a": "one\n"}, name="ann", email="ann@example.org")
        repository.commit({"a": "two\n"}, name="Bob", email="bob@example.org")
        GitImporter(app, History(repository.path)).run()
        repository.commit({"a": "three\n"}, name="Ann Example", email="ann@example.org")
        GitImporter(app, History(repository.path)).run()
        ann, bob = (uuid5(NAMESPACE_URL, f"mailto:{name}@example.org") for name in ("ann", "bob"))
        assert People(app).names([ann, bob]) == {ann: "Ann Example", bob: "Bob"}


def test_a_wiki_without_the_right_to_names_does_without_and_says_so(
    environment: dict[str, str],
    postgres: Postgres,
    token: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ContentManagement(environment) as owner:
        owner.create_page("Rose", "rose")
        dsn = postgres.dsn(environment["CONTENTMANAGEMENT_POSTGRES_DBNAME"])
        given = {**environment, "CREATE_TABLE": "no", "POSTGRES_USER": token}
        with psycopg.connect(dsn, autocommit=True) as connection:
            role = sql.Identifier(token)
            password = sql.Literal(postgres.password)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            try:
                assert_does_without(given, caplog)
                People(owner).remember({ANN: "Ann"})
                assert_does_without(given, caplog)
            finally:
                connection.execute(sql.SQL("DROP ROLE {}").format(role))


def assert_does_without(settings: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    with ContentManagement(settings) as app, caplog.at_level(logging.WARNING):
        People(app).remember({ANN: "Ann"})
        assert People(app).names([ANN, UUID(int=1)]) == {}
    assert "compose grants postgres" in caplog.text
