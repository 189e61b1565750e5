"""Who changed what when, and how often."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from eventsourcing_kafka.consumer.engine.store import ViewMissingError
from eventsourcing_kafka.consumer.views.activity import VIEW
from eventsourcing_kafka.consumer.views.activity.queries import (
    changes,
    changes_by,
    contributor,
    contributors,
    pages,
)
from eventsourcing_kafka.producer.contentmanagement.domainmodel import (
    Page,
    occurred_at_cvar,
    user_id_cvar,
)
from tests.operations.poison import Event, record_of
from tests.pipeline import WithoutKafka, page_id, write_page

from .counting import expected_activity, found_activity


@contextmanager
def acting(user: UUID | None) -> Iterator[None]:
    token = user_id_cvar.set(user)
    yield
    user_id_cvar.reset(token)


async def test_changes_come_newest_first_with_the_page_s_name_of_today(
    schemas: dict[str, str],
) -> None:
    ada = uuid4()
    async with WithoutKafka(schemas, VIEW) as shortcut:
        with acting(ada):
            write_page(shortcut.wiki, "rose", "a flower")
        write_page(shortcut.wiki, "zebra")
        await shortcut.catch_up()
        shortcut.wiki.update_title("rose", "Roses")
        shortcut.wiki.update_slug("rose", "roses")
        await shortcut.catch_up()

        rows = await changes(shortcut.store, 10)

        assert [(row.change, row.version, row.slug, row.title, row.user_id) for row in rows] == [
            ("SlugUpdated", 4, "roses", "Roses", None),
            ("TitleUpdated", 3, "roses", "Roses", None),
            ("Created", 1, "zebra", "Zebra", None),
            ("BodyUpdated", 2, "roses", "Roses", ada),
            ("Created", 1, "roses", "Roses", ada),
        ]
        assert [row.changed_at for row in rows] == sorted(
            (row.changed_at for row in rows), reverse=True
        )
        assert await changes(shortcut.store, 2) == rows[:2]


async def test_the_latest_changes_of_one_user_are_found_among_those_of_others(
    schemas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = uuid4(), uuid4()
    async with WithoutKafka(schemas, VIEW) as shortcut:
        with acting(ada):
            write_page(shortcut.wiki, "rose", "a", "b")
        with acting(bob):
            write_page(shortcut.wiki, "zebra", "a")
        await shortcut.catch_up()

        every = await changes(shortcut.store, 10)
        by_ada = await changes_by(shortcut.store, ada, 10)

        assert by_ada == [row for row in every if row.user_id == ada]
        assert [row.version for row in by_ada] == [3, 2, 1]
        assert await changes_by(shortcut.store, ada, 2) == by_ada[:2]
        assert await changes_by(shortcut.store, uuid4(), 10) == []
        assert await contributor(shortcut.store, uuid4()) is None
        assert [await contributor(shortcut.store, ada)] == [
            row for row in await contributors(shortcut.store, 10) if row.user_id == ada
        ]

        # They are looked for from the user's own last one on, and not further than so many.
        assert await changes_by(shortcut.store, ada, 10, seen=2) == by_ada[:2]


async def test_edits_are_counted_by_user_and_by_page_with_the_first_and_the_last(
    schemas: dict[str, str],
) -> None:
    ada = uuid4()
    async with WithoutKafka(schemas, VIEW) as shortcut:
        with acting(ada):
            write_page(shortcut.wiki, "rose", "a", "b", "c")
        for body in "xyz":
            await shortcut.catch_up()
            shortcut.wiki.update_body("rose", body)
        with acting(ada):
            write_page(shortcut.wiki, "zebra")
        await shortcut.catch_up()

        users = await contributors(shortcut.store, 10)
        edited = await pages(shortcut.store, 10)

        assert [(row.user_id, row.edits) for row in users] == [(ada, 5), (None, 3)]
        assert [(row.slug, row.edits) for row in edited] == [("rose", 7), ("zebra", 1)]
        rose: Page = shortcut.wiki.repository.get(page_id(shortcut.wiki, "rose"))
        assert (edited[0].first_at, edited[0].last_at) == (rose.created_on, rose.modified_on)
        times = [row.changed_at for row in await changes(shortcut.store, 10) if row.user_id == ada]
        assert (users[0].first_at, users[0].last_at) == (min(times), max(times))
        assert await found_activity(shortcut.store) == expected_activity(shortcut.wiki)


async def test_a_change_has_the_time_at_which_it_was_made(schemas: dict[str, str]) -> None:
    made = datetime(1938, 5, 17, 12, tzinfo=UTC)
    async with WithoutKafka(schemas, VIEW) as shortcut:
        write_page(shortcut.wiki, "rose")
        token = occurred_at_cvar.set(made)
        shortcut.wiki.update_body("rose", "imported")
        occurred_at_cvar.reset(token)
        await shortcut.catch_up()

        rows = await changes(shortcut.store, 10)

        assert [row.change for row in rows] == ["Created", "BodyUpdated"]
        assert rows[1].changed_at == made
        (page,) = await pages(shortcut.store, 10)
        assert (page.first_at, page.last_at) == (made, rows[0].changed_at)


async def test_a_time_without_a_zone_beside_good_ones_is_parked_alone(
    schemas: dict[str, str],
) -> None:
    async with WithoutKafka(schemas, VIEW) as shortcut:
        rose = write_page(shortcut.wiki, "rose", "a")
        position = shortcut.wiki.create_page("Zebra", "zebra")
        shortcut.relay()
        event = Event(rose, 3, position + 1, {"diff": "", "timestamp": "2026-01-01T00:00:00"})
        shortcut.put(*record_of(event))
        await shortcut.catch_up()
        (parked,) = await shortcut.store.parking.select(shortcut.connection)
        assert (parked.originator_id, parked.originator_version) == (str(rose), 3)
        assert await found_activity(shortcut.store) == expected_activity(shortcut.wiki)


async def test_activity_before_any_consumer_ran_says_which_to_start(
    schemas: dict[str, str],
) -> None:
    for query in (changes, contributors, pages):
        with pytest.raises(ViewMissingError, match="consumer run activity"):
            await query(WithoutKafka(schemas, VIEW).store, 10)
