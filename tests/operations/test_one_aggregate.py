"""One aggregate of a view is made again from the write model, or looked at event by event."""

import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from rich.console import Console

from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.store import NotRemovableError
from eventsourcing_kafka.consumer.operations.commands.step import show_step
from eventsourcing_kafka.consumer.operations.history import History, NoHistoryError
from eventsourcing_kafka.consumer.operations.one_aggregate import (
    Step,
    StillBrokenError,
    aggregate_events,
    replay_aggregate,
    steps,
)
from eventsourcing_kafka.consumer.operations.redrive import drop
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.consumer.views.activity import VIEW as ACTIVITY
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.wire import WireFormat
from eventsourcing_kafka.testing import ViewUnderTest
from eventsourcing_kafka.testing.plugin import database_settings
from tests.activity.test_queries import acting
from tests.anywhere.shop.views import ORDERS, SALES
from tests.pipeline import page_id as page_id_of

from .test_redrive import everything, sick_page
from .wiki import Wiki

__all__ = ["database_settings"]

ANNA, BELA = uuid4(), uuid4()


def history_of(application: Application[Any], view: View) -> History:
    return History(outbox_of(application), WireFormat.of(application), view)


async def rows_of(wiki: Wiki, *tables: str) -> dict[str, Sequence[Any]]:
    return {
        table: await (
            await wiki.connection.execute(
                wiki.store.sql("SELECT * FROM {schema}." + table + " AS row ORDER BY row::text")
            )
        ).fetchall()
        for table in tables
    }


async def test_an_aggregate_is_made_again_and_no_other_row_changes(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        wiki.go_on()
        await wiki.catch_up()
        before = await everything(wiki)
        await wiki.sql("UPDATE {schema}.pages SET body = 'broken', version = version + 5")

        history = history_of(wiki.wiki, wiki.store.view)
        slugs = (wiki.sick, wiki.neighbour, wiki.far)
        changed = {page_id_of(wiki.wiki, slug) for slug in slugs}
        for page_id in (wiki.sick_id, *(page.id for page in await wiki.healthy_pages())):
            replayed = await replay_aggregate(wiki.store, history, str(page_id))
            assert (replayed.events, replayed.parked) == (4 if page_id in changed else 2, 0)

        assert await everything(wiki) == before
        wiki.go_on()  # Its consumers do not notice.
        await wiki.catch_up()
        assert await wiki.healthy_pages() == wiki.expected_healthy_pages()
        assert not await wiki.parked()


async def test_what_is_counted_over_all_aggregates_is_right_again(
    schemas: dict[str, str],
) -> None:
    tables = ("changes", "contributors", "pages")
    async with Wiki(schemas, ACTIVITY) as wiki:
        for user in (ANNA, None, BELA, ANNA):
            with acting(user):
                wiki.go_on()
        with acting(uuid4()):  # Nobody else's page.
            wiki.wiki.update_title(wiki.sick, "Mine")
        await wiki.catch_up()
        before = await rows_of(wiki, *tables)

        history = history_of(wiki.wiki, wiki.store.view)
        replayed = await replay_aggregate(wiki.store, history, str(wiki.sick_id))

        assert replayed.events == 11
        assert await rows_of(wiki, *tables) == before


async def test_an_aggregate_that_is_gone_from_the_view_leaves_no_trace_in_what_is_counted(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas, ACTIVITY) as wiki:
        with acting(ANNA):
            wiki.go_on()
        await wiki.catch_up()
        async with wiki.connection.transaction(force_rollback=True):
            for page_id in {row[0] for row in (await rows_of(wiki, "pages"))["pages"]}:
                await wiki.store.remove_aggregate(wiki.connection, str(page_id))
            found = await rows_of(wiki, "changes", "contributors", "pages")
        assert found == {"changes": [], "contributors": [], "pages": []}


@pytest.mark.parametrize("typed", [str, lambda it: str(it).upper(), lambda it: it.hex])
async def test_what_is_parked_of_an_aggregate_is_applied_however_its_id_is_typed(
    schemas: dict[str, str], typed: Callable[[UUID], str]
) -> None:
    async with sick_page(schemas) as wiki:
        parked = [row for row in await wiki.parked() if row.originator_id == str(wiki.sick_id)]
        assert len(parked) == 2

        history = history_of(wiki.wiki, wiki.store.view)
        replayed = await replay_aggregate(wiki.store, history, typed(wiki.sick_id))

        assert (replayed.events, replayed.parked) == (4, 2)
        assert (await wiki.page(wiki.sick)).body == "three\n"
        assert str(wiki.sick_id) not in {row.originator_id for row in await wiki.parked()}


async def test_what_was_dropped_of_an_aggregate_stays_so(schemas: dict[str, str]) -> None:
    async with sick_page(schemas) as wiki:
        first, *_ = [row for row in await wiki.parked() if row.originator_id == str(wiki.sick_id)]
        await drop(wiki.store, first.id, by="Ada", reason="it was a mistake")

        history = history_of(wiki.wiki, wiki.store.view)
        with pytest.raises(StillBrokenError, match=r"BodyUpdated, version 4.*can't be applied"):
            await replay_aggregate(wiki.store, history, str(wiki.sick_id))


async def test_where_an_event_still_can_not_be_applied_nothing_has_changed(
    schemas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not yet")

    async with sick_page(schemas) as wiki:
        before = await everything(wiki)
        monkeypatch.setattr("eventsourcing_kafka.consumer.views.fts.view.policy", refuse)

        history = history_of(wiki.wiki, wiki.store.view)
        with pytest.raises(
            StillBrokenError, match=r"Page\.Created, version 1 .*as it was: .*not yet"
        ):
            await replay_aggregate(wiki.store, history, str(wiki.sick_id))

        assert await everything(wiki) == before


async def test_a_write_model_that_ends_before_the_view_is_refused(
    schemas: dict[str, str],
) -> None:
    async with Wiki(schemas) as wiki:
        wiki.go_on()
        await wiki.catch_up()
        history = history_of(ContentManagement(env={}), wiki.store.view)

        with pytest.raises(NoHistoryError, match="an older copy"):
            await replay_aggregate(wiki.store, history, str(wiki.sick_id))


@pytest.mark.parametrize("unknown", [str(UUID(int=7)), "no uuid", ""])
async def test_an_aggregate_that_nobody_knows_is_named(
    database_settings: dict[str, str], unknown: str
) -> None:
    async with ViewUnderTest(ORDERS, database_settings) as orders:
        orders.application.place("Ada", 100)
        await orders.apply()

        with pytest.raises(NoHistoryError, match=f"nothing of '{unknown}'"):
            await aggregate_events(orders.store, history_of(orders.application, ORDERS), unknown)


async def test_a_view_that_does_not_say_what_an_aggregate_has_is_refused(
    database_settings: dict[str, str],
) -> None:
    async with ViewUnderTest(SALES, database_settings) as sales:
        order_id = sales.application.place("Ada", 100)
        await sales.apply()

        with pytest.raises(NotRemovableError, match=r"sales .*aggregate_columns"):
            await replay_aggregate(sales.store, history_of(sales.application, SALES), str(order_id))


async def stepped(view: ViewUnderTest, aggregate: UUID, until: int | None = None) -> list[Step]:
    history = history_of(view.application, view.store.view)
    return [each async for each in steps(view.store, history, str(aggregate), until)]


@pytest.mark.parametrize("view", [ORDERS, SALES], ids=lambda view: view.name)
async def test_each_event_is_shown_with_what_it_does_and_nothing_is_written(
    database_settings: dict[str, str], view: View
) -> None:
    async with ViewUnderTest(view, database_settings) as shop:
        order_id = shop.application.place("Ada", 100)
        shop.application.pay(order_id)
        await shop.apply()
        (table,) = view.tables
        rows = await shop.rows("SELECT * FROM {schema}." + table)

        shown = await stepped(shop, order_id)

        assert [(step.version, step.type) for step in shown] == [
            (1, "Order.Placed"),
            (2, "Order.Paid"),
        ]
        (placed,) = shown[0].changes
        assert placed.before is None
        assert placed.after
        assert placed.after["customer"] == "Ada"
        assert await shop.rows("SELECT * FROM {schema}." + table) == rows
        assert await shop.rows("SELECT FROM pg_namespace WHERE nspname LIKE '%%step'") == []


async def test_an_event_that_can_not_be_applied_is_the_last_that_is_shown(
    database_settings: dict[str, str],
) -> None:
    async with ViewUnderTest(ORDERS, database_settings) as orders:
        order_id = orders.application.place("Eve", -1)
        orders.application.pay(order_id)
        await orders.apply(OnError.PARK)

        (step,) = await stepped(orders, order_id)

        assert step.version == 1
        assert step.changes == []
        assert "can't cost less than nothing" in (step.error or "")


async def test_an_event_that_was_dropped_is_shown_with_who_did_so_and_why(
    database_settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with ViewUnderTest(ORDERS, database_settings) as orders:
        order_id = orders.application.place("Eve", -1)
        orders.application.pay(order_id)
        await orders.apply(OnError.PARK)
        first, *_ = await orders.parked()
        await drop(orders.store, first.id, by="Ada", reason="a joke")

        placed, paid = await stepped(orders, order_id)

    assert (placed.changes, placed.error) == ([], None)
    assert placed.dropped
    assert (placed.dropped.dropped_by, placed.dropped.reason) == ("Ada", "a joke")
    assert paid.dropped is None
    show_step(placed, Console(highlight=False, width=200))
    shown = capsys.readouterr().out
    assert re.search(r"dropped by Ada, .*: a joke", shown)
    assert "nothing changes" not in shown
