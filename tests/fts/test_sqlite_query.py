"""Web search queries in the syntax of SQLite's FTS5."""

import sqlite3
from collections.abc import Iterator
from uuid import UUID

import pytest
from eventsourcing.system import SingleThreadedRunner
from hypothesis import example, given
from hypothesis import strategies as st

from eventsourcing_kafka.consumer.views.fts.application import FtsProcess
from eventsourcing_kafka.consumer.views.fts.sqlite import web_search_to_fts5
from eventsourcing_kafka.consumer.views.fts.system import ContentManagementSystem
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.runtime.errors import SettingsError

from .test_scenario import SQLITE

PIECES = st.sampled_from(["rose", "zebra", "OR", "NOT", "AND", "NEAR(", '"', "-", "*", "^", ":"])


@pytest.fixture(scope="module")
def documents() -> Iterator[sqlite3.Connection]:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE documents USING fts5 (title, body)")
        connection.execute("INSERT INTO documents VALUES ('Rose', 'a flower')")
        yield connection
    connection.close()


@given(st.one_of(st.text(), st.lists(PIECES | st.text(max_size=3)).map(" ".join)))
@example("x" * 10_000)
@example("rose " * 2000)
@example("-rose OR -zebra")
@example('"rose')
@example("a\0b")
@example("rose\ud800")
@example("²")
@example("_")
def test_no_text_is_an_error_of_sqlite(documents: sqlite3.Connection, query: str) -> None:
    match = web_search_to_fts5(query)
    if match:
        documents.execute("SELECT * FROM documents WHERE documents MATCH ?", [match]).fetchall()


def test_pages_are_found_as_in_web_searches() -> None:
    bodies = {"a": "red rose", "b": "rose, not red", "c": "blue zebra", "rose": "a flower"}
    with SingleThreadedRunner[UUID](ContentManagementSystem(), SQLITE) as runner:
        wiki, view = runner.get(ContentManagement), runner.get(FtsProcess)
        for slug, body in bodies.items():
            wiki.create_page(slug.title(), slug)
            wiki.update_body(slug, body)

        def found(query: str) -> list[str]:
            return [wiki.get_page_by_id(page_id)["slug"] for page_id in view.search(query)]

        assert found("rose")[0] == "rose"
        assert found('"red rose"') == ["a"]
        assert set(found("zebra OR red")) == {"a", "b", "c"}
        assert set(found("rose -red")) == {"rose"}
        assert set(found("flowers")) == {"rose"}
        assert found("NOT AND NEAR") == found("") == found("-zebra") == []
        for no_text in ("a\0b", "a\ud800b"):
            with pytest.raises(SettingsError):
                found(no_text)
