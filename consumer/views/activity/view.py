"""The activity view of the async consumer: its tables, and what a batch adds to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, sql

from eventsourcing_kafka.consumer.unit_of_work import Event, Place
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.activity.audit import audit
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.contentmanagement.published import EVENT_TYPES
from eventsourcing_kafka.producer.wire import EventTypes

CREATE_CHANGES: LiteralString = """
    CREATE TABLE {schema}.changes (
        page_id uuid NOT NULL,
        version bigint NOT NULL,
        partition integer NOT NULL,
        user_id uuid,
        change text NOT NULL,
        changed_at timestamptz NOT NULL
    )
"""

# Counted by partition, so that the part of one partition can be taken back.
CREATE_CONTRIBUTORS: LiteralString = """
    CREATE TABLE {schema}.contributors (
        user_id uuid,
        partition integer NOT NULL,
        edits bigint NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        UNIQUE NULLS NOT DISTINCT (user_id, partition)
    )
"""

CREATE_PAGES: LiteralString = """
    CREATE TABLE {schema}.pages (
        page_id uuid PRIMARY KEY,
        partition integer NOT NULL,
        slug text NOT NULL,
        title text NOT NULL,
        edits bigint NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL
    )
"""

# For the newest changes; and a row that is there twice, as after a restore into tables that a
# consumer has filled, would be counted twice. What happens later is added at the end of it, where a
# key that began with the page would be written all over. A rebuild makes it last: an index is
# quicker made than kept up.
CREATE_INDEX: LiteralString = """
    CREATE UNIQUE INDEX IF NOT EXISTS changes_by_time
        ON {schema}.changes (changed_at DESC, page_id, version)
"""

# Counted by Postgres: it is at that while the next batch is read and decoded here.
ADD_CHANGES: LiteralString = """
    WITH added AS (
        INSERT INTO {schema}.changes (page_id, version, partition, user_id, change, changed_at)
        SELECT * FROM unnest(%(page_ids)b::uuid[], %(versions)b::bigint[],
                             %(partitions)b::integer[], %(user_ids)b::uuid[], %(changes)b::text[],
                             %(times)b::timestamptz[])
        RETURNING *
    ), contributed AS (
        INSERT INTO {schema}.contributors AS known (user_id, partition, edits, first_at, last_at)
        SELECT user_id, partition, count(*), min(changed_at), max(changed_at)
          FROM added
         GROUP BY user_id, partition
            ON CONFLICT (user_id, partition) DO UPDATE
           SET edits = known.edits + excluded.edits,
               first_at = least(known.first_at, excluded.first_at),
               last_at = greatest(known.last_at, excluded.last_at)
    )
    INSERT INTO {schema}.pages AS known (
           page_id, partition, edits, first_at, last_at, slug, title)
    SELECT page_id, partition, count(*), min(changed_at), max(changed_at),
           coalesce(min(name.slug), ''), coalesce(min(name.title), '')
      FROM added
      LEFT JOIN unnest(%(named)b::uuid[], %(slugs)b::text[], %(titles)b::text[])
           AS name (page_id, slug, title) USING (page_id)
     GROUP BY page_id, partition
        ON CONFLICT (page_id) DO UPDATE
       SET edits = known.edits + excluded.edits,
           first_at = least(known.first_at, excluded.first_at),
           last_at = greatest(known.last_at, excluded.last_at),
           slug = coalesce(nullif(excluded.slug, ''), known.slug),
           title = coalesce(nullif(excluded.title, ''), known.title)
"""


# What is left of other pages says when somebody first and last edited. All changes are read for the
# page's own, and once more, in a way that Postgres can hash, only if one of those was the first or
# the last of somebody's. An editor may be unknown.
SUBTRACT_EDITS: LiteralString = """
    WITH removed AS (
        DELETE FROM {schema}.changes
         WHERE page_id = %(aggregate)s
        RETURNING user_id, partition, changed_at
    ), gone AS (
        SELECT user_id, partition, count(*) AS edits,
               min(changed_at) AS first_at, max(changed_at) AS last_at
          FROM removed
         GROUP BY user_id, partition
    ), outermost AS MATERIALIZED (
        SELECT gone.user_id, gone.partition
          FROM gone
          JOIN {schema}.contributors AS known
            ON known.user_id IS NOT DISTINCT FROM gone.user_id
           AND known.partition = gone.partition
         WHERE gone.first_at <= known.first_at OR gone.last_at >= known.last_at
    ), left_over AS (
        SELECT outermost.user_id, outermost.partition,
               min(changed_at) AS first_at, max(changed_at) AS last_at
          FROM outermost
          JOIN {schema}.changes
            ON coalesce(changes.user_id, '00000000-0000-0000-0000-000000000000')
                 = coalesce(outermost.user_id, '00000000-0000-0000-0000-000000000000')
           AND (changes.user_id IS NULL) = (outermost.user_id IS NULL)
           AND changes.partition = outermost.partition
         WHERE changes.page_id <> %(aggregate)s
         GROUP BY outermost.user_id, outermost.partition
    )
    UPDATE {schema}.contributors AS known
       SET edits = known.edits - gone.edits,
           first_at = coalesce(left_over.first_at, known.first_at),
           last_at = coalesce(left_over.last_at, known.last_at)
      FROM gone
      LEFT JOIN left_over
        ON left_over.user_id IS NOT DISTINCT FROM gone.user_id
       AND left_over.partition = gone.partition
     WHERE known.user_id IS NOT DISTINCT FROM gone.user_id
       AND known.partition = gone.partition
"""

REMOVE_STRANGERS: LiteralString = "DELETE FROM {schema}.contributors WHERE edits = 0"


Change = tuple[UUID, int, int, UUID | None, str, datetime]
"""One edit of one page, as a row of `changes`. The change is the event's name: `BodyUpdated`, …"""


class ActivityUnitOfWork:
    """What a batch adds. It reads nothing: additions need no knowledge of what is there."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._changes: list[Change] = []
        self._names: dict[UUID, dict[str, str]] = {}

    async def read(
        self,
        connection: AsyncConnection[Any],
        originators: Collection[str],
        events: Sequence[Event],
    ) -> None:
        """Read nothing."""

    def apply(self, event: Event, place: Place) -> None:
        """Add one edit."""
        assert isinstance(event, Page.Event)  # noqa: S101 - the view wants no others
        if event.changed_at.tzinfo is None:
            raise ValueError("the time of the event has no time zone")
        self._changes.append(
            (
                event.originator_id,
                event.originator_version,
                place.partition,
                event.user_id,
                type(event).__name__,
                event.changed_at,
            )
        )
        for name in ("slug", "title"):
            if hasattr(event, name):
                self._names.setdefault(event.originator_id, {})[name] = getattr(event, name)

    def skip(self, originator_id: str, version: int, place: Place) -> None:
        """Nothing follows from a dropped event here."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Add to what is there."""
        if not self._changes:
            return
        page_ids, versions, partitions, user_ids, changes, times = map(
            list, zip(*self._changes, strict=True)
        )
        await connection.execute(
            sql.SQL(ADD_CHANGES).format(schema=self._schema),
            {
                "page_ids": page_ids,
                "versions": versions,
                "partitions": partitions,
                "user_ids": user_ids,
                "changes": changes,
                "times": times,
                "named": list(self._names),
                "slugs": [names.get("slug") for names in self._names.values()],
                "titles": [names.get("title") for names in self._names.values()],
            },
        )


VIEW = View(
    name="activity",
    application_name="ContentManagement",
    application_topic="eventsourcing_kafka.producer.contentmanagement.application:ContentManagement",
    audit=audit,
    types=EVENT_TYPES,
    wanted=EventTypes.of(Page),
    tables=["changes", "contributors", "pages"],
    aggregate_columns={"pages": "page_id"},
    subtract=[SUBTRACT_EDITS, REMOVE_STRANGERS],
    create=[CREATE_CHANGES, CREATE_CONTRIBUTORS, CREATE_PAGES],
    indexes=[CREATE_INDEX],
    unit_of_work=ActivityUnitOfWork,
    sent_ahead=True,
)
