"""What can be wrong with a view is found, and named; what is parked or behind is no fault."""

from collections.abc import Iterable
from uuid import UUID

import anyio
import msgspec
import pytest
from anyio.from_thread import BlockingPortal
from typer.testing import CliRunner

from eventsourcing_kafka.compose.audit import Fault, Report
from eventsourcing_kafka.compose.command_line import app
from eventsourcing_kafka.consumer.operations.redrive import drop
from eventsourcing_kafka.consumer.views.registry import UnknownViewError
from tests.pipeline import page_id

from .audited import USERS, Audited, Placed


def unfit(placed: Iterable[Placed], slug: str, audited: Audited) -> list[Placed]:
    """Return the records with the first diff of a page spoiled."""
    key, found = str(page_id(audited.wiki, slug)).encode(), []
    for position, partition, record in placed:
        is_second = key == record.key and int(dict(record.headers)["ce_sequence"]) == 2
        value = record.value.replace(b"0a1", b"9a1") if is_second else record.value
        found.append(Placed(position, partition, record._replace(value=value)))
    return found


async def test_views_that_have_applied_everything_are_clean(viewed: Audited) -> None:
    report = await viewed.audit()

    fts, activity = report.views
    assert report.clean
    assert report.findings == []
    assert fts.rows == {"pages": 5}
    assert activity.rows == {
        "changes": 17,
        "pages": 5,
        "contributors": activity.rows["contributors"],
    }
    assert fts.events == activity.events == report.topics[0].notifications
    assert str(report).endswith(f"{activity.rows['contributors']} contributors compared")


async def test_a_view_that_is_not_there_yet_is_neither_fault_nor_success(
    fresh: Audited,
) -> None:
    report = await fresh.audit("fts")

    assert (report.clean, report.success) == (True, False)
    assert "fts: NOT compared, as no consumer has made it yet" in str(report)


async def test_a_page_that_was_changed(viewed: Audited) -> None:
    await viewed.change("fts", "UPDATE {schema}.pages SET slug = 'else' WHERE slug = 'page-0'")

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("fts.pages", Fault.ALTERED)
    assert finding.aggregate == str(page_id(viewed.wiki, "page-0"))
    assert finding.what == "page 'page-0': slug is 'else', not 'page-0'"


async def test_a_body_that_was_changed_and_its_index(viewed: Audited) -> None:
    await viewed.change("fts", "UPDATE {schema}.pages SET body = 'x' WHERE slug = 'page-0'")

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("fts.pages", Fault.ALTERED)
    assert "body is" in finding.what
    assert "indexed is False, not True" in finding.what


async def test_a_page_that_was_deleted(viewed: Audited) -> None:
    await viewed.change("fts", "DELETE FROM {schema}.pages WHERE slug = 'page-3'")

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("fts.pages", Fault.MISSING)
    assert finding.aggregate == str(page_id(viewed.wiki, "page-3"))


@pytest.mark.parametrize("surplus", [UUID(int=0), UUID(int=2**128 - 1)])
async def test_a_page_too_many(viewed: Audited, surplus: UUID) -> None:
    store = viewed.stores["fts"]
    async with store.connected() as connection:
        await connection.execute(
            store.sql(
                "INSERT INTO {schema}.pages VALUES ({id}, 0, 1, 'new', '', '', '', '', '')",
                id=str(surplus),
            )
        )

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("fts.pages", Fault.SURPLUS)
    assert finding.aggregate == str(surplus)


async def test_a_count_that_is_off_by_one(viewed: Audited) -> None:
    await viewed.change(
        "activity", "UPDATE {schema}.pages SET edits = edits + 1 WHERE slug = 'page-0'"
    )

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("activity.pages", Fault.ALTERED)
    assert finding.what == "page 'page-0': edits is 4, not 3"


async def test_the_count_of_a_user_that_is_off_by_one(viewed: Audited) -> None:
    store = viewed.stores["activity"]
    async with store.connected() as connection:
        await connection.execute(
            store.sql(
                "UPDATE {schema}.contributors SET edits = edits - 1 WHERE ctid ="
                " (SELECT ctid FROM {schema}.contributors WHERE user_id = {user} LIMIT 1)",
                user=str(USERS[0]),
            )
        )

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("activity.contributors", Fault.ALTERED)
    assert finding.what.startswith(f"user {USERS[0]}, partition ")


async def test_a_change_that_nobody_made(viewed: Audited) -> None:
    await viewed.change(
        "activity",
        "INSERT INTO {schema}.changes (page_id, version, partition, change, changed_at) "
        "SELECT page_id, version + 100, partition, change, changed_at "
        "FROM {schema}.changes LIMIT 1",
    )

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("activity.changes", Fault.SURPLUS)


async def test_a_change_that_was_deleted(viewed: Audited) -> None:
    await viewed.change("activity", "DELETE FROM {schema}.changes WHERE change = 'TitleUpdated'")

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("activity.changes", Fault.MISSING)
    assert finding.aggregate == str(page_id(viewed.wiki, "page-1"))


async def test_a_position_that_was_moved_ahead(viewed: Audited) -> None:
    await viewed.change(
        "fts", "UPDATE {schema}.tracking SET position = position + 1000 WHERE partition = 1"
    )

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("fts.tracking", Fault.POSITION)
    assert finding.partition == 1


async def test_an_offset_beyond_the_end(viewed: Audited) -> None:
    await viewed.change(
        "activity", "UPDATE {schema}.tracking SET next_offset = 10000 WHERE partition = 2"
    )

    finding = await viewed.finding()

    assert (finding.where, finding.fault) == ("activity.tracking", Fault.POSITION)
    assert (finding.partition, finding.offset) == (2, 10000)
    assert finding.what.startswith("its next offset is beyond the end, ")


async def test_parked_and_dropped_events_are_no_fault_of_the_view(
    fresh: Audited, placed: list[Placed]
) -> None:
    spoiled = unfit(placed, "page-0", fresh)
    await fresh.publish(spoiled)
    await fresh.apply()

    report = await fresh.audit()
    assert [(finding.where, finding.fault) for finding in report.findings] == [
        ("ContentManagement.topic", Fault.ALTERED)
    ]
    assert (report.views[0].parked, report.views[0].dropped) == (2, 0)
    assert (report.views[1].parked, report.views[1].dropped) == (0, 0)

    await drop(fresh.stores["fts"], 1, by="me", reason="it does not fit")

    report = await fresh.audit()
    assert report.counts == {Fault.ALTERED: 1}
    assert (report.views[0].parked, report.views[0].dropped) == (1, 1)

    await fresh.change("fts", "UPDATE {schema}.parked SET record_offset = 10000")

    report = await fresh.audit("fts")
    assert report.counts == {Fault.ALTERED: 1, Fault.UNACCOUNTED: 1}

    await fresh.change("fts", "DELETE FROM {schema}.parked")

    (row, _) = (await fresh.audit("fts")).findings
    assert (row.where, row.fault) == ("fts.pages", Fault.ALTERED)
    assert row.what.startswith("page 'page-0': version is 1, not 3")


async def test_a_view_is_compared_as_of_where_it_is(fresh: Audited, placed: list[Placed]) -> None:
    await fresh.publish(placed[:8])
    await fresh.apply()
    await fresh.publish(placed[8:])

    report = await fresh.audit()

    assert report.clean
    assert [view.events for view in report.views] == [8, 8]
    assert report.topics[0].notifications == len(placed)


async def test_it_is_clean_while_consumers_apply(fresh: Audited, placed: list[Placed]) -> None:
    reports: list[Report] = []

    async def audit_until_all_is_applied() -> None:
        while not reports or reports[-1].views[1].events < len(placed):
            reports.append(await fresh.audit())

    await fresh.publish(placed)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(audit_until_all_is_applied)
        await fresh.consume()

    assert all(report.clean for report in reports)


def test_the_command_tells_machines_and_people(applied: Audited) -> None:
    runner = CliRunner(env=dict(applied.environment))

    for_machines = runner.invoke(app, ["audit", "--json"])
    for_people = runner.invoke(app, ["audit", "fts"])

    assert (for_machines.exit_code, for_people.exit_code) == (0, 0)
    report = msgspec.json.decode(for_machines.stdout, type=Report)
    assert report.clean
    assert for_people.stdout.startswith(
        f"audited: ContentManagement: {report.topics[0].notifications} notifications"
    )


def test_the_command_ends_with_1_when_something_is_found(
    portal: BlockingPortal, viewed: Audited
) -> None:
    portal.call(viewed.change, "fts", "DELETE FROM {schema}.pages WHERE slug = 'page-3'")
    runner = CliRunner(env={**viewed.environment, "COLUMNS": "300"})

    result = runner.invoke(app, ["audit", "fts"])

    assert result.exit_code == 1
    assert "fts.pages" in result.stdout
    assert "1 finding (1 missing)" in result.stdout


async def test_a_view_that_there_is_not_is_answered_with_those_there_are(viewed: Audited) -> None:
    with pytest.raises(UnknownViewError, match="activity, fts"):
        await viewed.audit("fst")
