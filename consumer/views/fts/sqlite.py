"""Records the search view in SQLite, with the library's own recorder and SQLite's FTS5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteCursor, SQLiteProcessRecorder

from eventsourcing_kafka.consumer.views.fts.application import FtsRecorder
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo

CREATE_PAGES = """
    CREATE TABLE IF NOT EXISTS pages (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        slug TEXT NOT NULL,
        title TEXT NOT NULL,
        body TEXT NOT NULL
    )
"""

# The index keeps no copy of the text: triggers tell it what changes.
CREATE_INDEX = """
    CREATE VIRTUAL TABLE IF NOT EXISTS pages_document
    USING fts5 (title, body, content='pages', content_rowid='number', tokenize='porter')
"""

CREATE_INSERT_TRIGGER = """
    CREATE TRIGGER IF NOT EXISTS pages_inserted AFTER INSERT ON pages BEGIN
        INSERT INTO pages_document (rowid, title, body) VALUES (new.number, new.title, new.body);
    END
"""

CREATE_UPDATE_TRIGGER = """
    CREATE TRIGGER IF NOT EXISTS pages_updated AFTER UPDATE ON pages BEGIN
        INSERT INTO pages_document (pages_document, rowid, title, body)
        VALUES ('delete', old.number, old.title, old.body);
        INSERT INTO pages_document (rowid, title, body) VALUES (new.number, new.title, new.body);
    END
"""

INSERT_PAGE = """
    INSERT INTO pages (id, version, slug, title, body)
    VALUES (:id, :version, :slug, :title, :body)
"""

UPDATE_PAGE = """
    UPDATE pages SET version = :version, slug = :slug, title = :title, body = :body
     WHERE id = :id
"""

SELECT_PAGE = "SELECT id, version, slug, title, body FROM pages WHERE id = ?"

SEARCH_PAGES = """
    SELECT pages.id
      FROM pages_document JOIN pages ON pages.number = pages_document.rowid
     WHERE pages_document MATCH ?
     ORDER BY bm25(pages_document, 10.0, 1.0)
"""

TERM = re.compile(r'(?P<without>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')


class SQLiteFtsProcessRecorder(FtsRecorder, SQLiteProcessRecorder):
    """Records pages, tracking and events in one SQLite transaction."""

    def construct_create_table_statements(self) -> list[str]:
        """Add the tables of the view to the library's own."""
        return [
            *super().construct_create_table_statements(),
            CREATE_PAGES,
            CREATE_INDEX,
            CREATE_INSERT_TRIGGER,
            CREATE_UPDATE_TRIGGER,
        ]

    def _insert_events(
        self,
        c: SQLiteCursor,
        stored_events: Sequence[StoredEvent],
        *,
        insert_pages: Sequence[PageInfo] = (),
        update_pages: Sequence[PageInfo] = (),
        **kwargs: Any,
    ) -> Sequence[int] | None:
        returning = super()._insert_events(c, stored_events, **kwargs)
        for statement, pages in ((INSERT_PAGE, insert_pages), (UPDATE_PAGE, update_pages)):
            for page in pages:
                c.execute(statement, page._asdict() | {"id": page.id.hex})
        return returning

    def select_page(self, page_id: UUID) -> PageInfo | None:
        """Return the page with this ID, None if there is none."""
        with self.datastore.transaction(commit=False) as c:
            c.execute(SELECT_PAGE, [page_id.hex])
            row = c.fetchone()
            return PageInfo(**{**row, "id": page_id}) if row else None

    def search_pages(self, query: str) -> list[UUID]:
        """Return the IDs of the pages that match, the best match first."""
        match = web_search_to_fts5(query)
        if not match:
            return []
        with self.datastore.transaction(commit=False) as c:
            c.execute(SEARCH_PAGES, [match])
            return [UUID(row["id"]) for row in c.fetchall()]


def web_search_to_fts5(query: str) -> str:
    """Return a web search query (words, `"phrases"`, `OR`, `-without`) in the syntax of FTS5.

    Whatever else is in the words is text to find, never syntax. Without a word to find, the
    result is empty: FTS5 can't answer what is only to be left out.
    """
    alternatives: list[tuple[list[str], list[str]]] = [([], [])]
    storable = query.replace("\0", " ").encode(errors="replace").decode()
    for term in TERM.finditer(storable):
        text = term["word"] if term["phrase"] is None else term["phrase"]
        if term["word"] == "OR" and not term["without"]:
            alternatives.append(([], []))
        elif re.search(r"\w", text):
            quoted = '"' + text.replace('"', " ") + '"'
            alternatives[-1][bool(term["without"])].append(quoted)
    return " OR ".join(
        "(" + " NOT ".join(["(" + " AND ".join(found) + ")", *without]) + ")"
        for found, without in alternatives
        if found
    )
