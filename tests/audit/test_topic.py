"""What can be wrong with a topic is found, and named."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from eventsourcing.persistence import IntegrityError

from eventsourcing_kafka.compose.audit import Fault
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import partitions_of
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay
from eventsourcing_kafka.producer.wire import Record
from tests.chaos.damage import delete_records
from tests.pipeline import until

from .audited import PARTITIONS, Audited, Placed


def several_in_a_partition(placed: Sequence[Placed]) -> list[Placed]:
    """Return records that are in one partition, one behind the other."""
    return [each for each in placed if each.partition == placed[0].partition]


def header(record: Record, name: str, value: bytes) -> Record:
    headers = [(known, value if known == name else old) for known, old in record.headers]
    return record._replace(headers=headers)


async def test_what_a_relay_publishes_is_clean(audited: Audited, placed: list[Placed]) -> None:
    await audited.publish(placed)

    report = await audited.audit()

    assert report.clean
    assert report.topics[0].notifications == report.topics[0].records == len(placed)
    assert (report.topics[0].position, report.topics[0].gap) == (placed[-1].position, 0)
    assert f"{len(placed)} notifications, each published once, in order and unalt" in str(report)


async def test_a_record_that_is_missing(audited: Audited, placed: list[Placed]) -> None:
    missing = placed.pop(7)
    await audited.publish(placed)

    finding = await audited.finding()

    assert (finding.fault, finding.where) == (Fault.MISSING, "ContentManagement.topic")
    assert (finding.position, finding.partition) == (missing.position, missing.partition)
    assert finding.aggregate == missing.record.key.decode()
    assert finding.type == dict(missing.record.headers)["ce_type"].decode()


async def test_what_is_deleted_from_the_beginning_is_told_and_what_lacks_behind_it_is_found(
    audited: Audited, placed: list[Placed]
) -> None:
    lacking = several_in_a_partition(placed)[-2]
    before = [each for each in placed if each.partition == lacking.partition]
    placed.remove(lacking)
    await audited.publish(placed)
    servers = audited.settings.bootstrap_servers
    await delete_records(servers, audited.topics.events, lambda _, end: min(2, end))
    gone = sum(min(2, count) for count in Counter(p.partition for p in placed).values())
    assert len(before) > 4

    report = await audited.audit()

    (finding,) = report.findings
    assert (finding.fault, finding.position) == (Fault.MISSING, lacking.position)
    assert report.topics[0].deleted == gone
    assert report.topics[0].notifications == len(placed) + 1 - gone
    assert f"{gone} deleted from its beginning" in str(report)


async def test_a_record_that_is_doubled(audited: Audited, placed: list[Placed]) -> None:
    await audited.publish([*placed, placed[3]], position=placed[-1].position)

    finding = await audited.finding()

    assert (finding.fault, finding.position) == (Fault.DOUBLED, placed[3].position)
    assert finding.offset == len([p for p in placed if p.partition == placed[3].partition])


async def test_two_records_in_the_wrong_order(audited: Audited, placed: list[Placed]) -> None:
    _, one, other, *_ = several_in_a_partition(placed)
    at, behind = placed.index(one), placed.index(other)
    placed[at], placed[behind] = placed[behind], placed[at]
    await audited.publish(placed)

    finding = await audited.finding()

    assert (finding.fault, finding.position) == (Fault.MISORDERED, other.position)
    assert finding.what == f"it is before position {one.position}"


async def test_a_record_that_comes_late(audited: Audited, placed: list[Placed]) -> None:
    late = several_in_a_partition(placed)[1]
    placed.remove(late)
    last = max(each.position for each in placed if each.partition == late.partition)
    await audited.publish([*placed, late], position=placed[-1].position)

    finding = await audited.finding()

    assert (finding.fault, finding.position) == (Fault.MISORDERED, late.position)
    assert finding.what == f"it is behind position {last}"


async def test_a_record_that_names_another_one_before_it(
    audited: Audited, placed: list[Placed]
) -> None:
    first, _, third, *_ = several_in_a_partition(placed)
    named = first.record.link.text
    torn = header(third.record, "ce_predecessor", named.encode())
    placed[placed.index(third)] = third._replace(record=torn)
    await audited.publish(placed)

    finding = await audited.finding()

    assert (finding.fault, finding.position) == (Fault.UNLINKED, third.position)
    assert finding.what.startswith(f"it names '{named}' as the one before it, which is ")


async def test_an_altered_value(audited: Audited, placed: list[Placed]) -> None:
    position, partition, record = placed[4]
    altered = record._replace(value=record.value.replace(b"-", b"+", 1))
    placed[4] = Placed(position, partition, altered)
    await audited.publish(placed)

    finding = await audited.finding()

    assert (finding.fault, finding.position) == (Fault.ALTERED, position)
    assert finding.what.startswith("value from byte ")


async def test_altered_headers(audited: Audited, placed: list[Placed]) -> None:
    names = ["ce_type", "ce_sequence", "ce_source", "ce_time"]
    for at, name in enumerate(names):
        position, partition, record = placed[at]
        placed[at] = Placed(position, partition, header(record, name, b"7"))
    await audited.publish(placed)

    findings = (await audited.audit()).findings

    assert {finding.fault for finding in findings} == {Fault.ALTERED}
    assert [finding.position for finding in findings] == [each.position for each in placed[:4]]
    assert [finding.what.split(",")[0] for finding in findings] == [
        f"header {name} is '7'" for name in names
    ]


async def test_an_altered_time_of_the_record(audited: Audited, placed: list[Placed]) -> None:
    position, partition, record = placed[2]
    placed[2] = Placed(position, partition, record._replace(timestamp_ms=1))
    await audited.publish(placed)

    finding = await audited.finding()

    assert (finding.fault, finding.position) == (Fault.ALTERED, position)
    assert finding.what == f"timestamp is 1, not {record.timestamp_ms}"


async def test_foreign_records(audited: Audited, placed: list[Placed]) -> None:
    claims: list[list[tuple[str, bytes]]] = [
        [],
        [("ce_position", b"many")],
        [("ce_position", b"1000000000000")],
        [("ce_position", b"3"), ("ce_source", b"/Else")],
    ]
    foreign = [Placed(0, 1, Record(b"who", b"hello", headers, 1, 0, b"")) for headers in claims]
    await audited.publish([*placed[:5], *foreign, *placed[5:]])

    report = await audited.audit()

    assert report.counts == {Fault.FOREIGN: len(claims)}
    assert {(finding.partition, finding.aggregate) for finding in report.findings} == {(1, "who")}


async def test_a_record_in_the_wrong_partition_is_missing_from_its_own(
    audited: Audited, placed: list[Placed]
) -> None:
    position, partition, record = placed[6]
    wrong = (partition + 1) % PARTITIONS
    placed[6] = Placed(position, wrong, record)
    await audited.publish(placed)

    misplaced, missing = (await audited.audit()).findings

    assert (misplaced.fault, misplaced.partition) == (Fault.MISPLACED, wrong)
    assert (missing.fault, missing.partition) == (Fault.MISSING, partition)
    assert misplaced.position == missing.position == position


async def test_a_hole_that_the_position_of_the_relay_is_past(
    audited: Audited, placed: list[Placed]
) -> None:
    last = placed[-1].position
    await audited.publish(placed[:-3], position=last)

    report = await audited.audit()

    assert report.topics[0].gap == 0
    assert report.counts == {Fault.MISSING: 3}
    assert [finding.position for finding in report.findings] == [last - 2, last - 1, last]


async def test_a_position_beyond_the_write_model(audited: Audited, placed: list[Placed]) -> None:
    await audited.publish(placed, position=placed[-1].position + 5)

    finding = await audited.finding()

    assert (finding.fault, finding.where) == (Fault.POSITION, "ContentManagement.relay")
    assert finding.position == placed[-1].position + 5


async def test_what_is_not_published_yet_is_a_gap_and_no_fault(
    audited: Audited, placed: list[Placed]
) -> None:
    await audited.publish(placed[:-3])

    report = await audited.audit()

    assert report.clean
    assert report.topics[0].gap == 3
    assert "3 positions not published yet" in str(report)


async def test_nothing_published_at_all_is_a_gap(audited: Audited, placed: list[Placed]) -> None:
    report = await audited.audit()

    assert report.clean
    assert (report.topics[0].position, report.topics[0].gap) == (0, placed[-1].position)


async def test_an_aborted_transaction_is_no_finding(audited: Audited, placed: list[Placed]) -> None:
    await audited.publish(placed[:9], commit=False)
    await audited.publish(placed[:12])
    await audited.publish(placed[3:], commit=False)
    await audited.publish(placed[12:])
    await audited.publish(placed, commit=False)

    report = await audited.audit()

    assert report.clean
    assert report.topics[0].records == len(placed)


async def test_a_hole_in_the_positions_is_nothing_to_publish(
    audited: Audited, placed: list[Placed]
) -> None:
    recorder = audited.wiki.recorder
    events = recorder.select_events(UUID(placed[0].record.key.decode()))
    with pytest.raises(IntegrityError):
        recorder.insert_events(events)
    audited.wiki.create_page("After", "after")
    after = list(audited.placed())
    await audited.publish(after)

    report = await audited.audit()

    assert after[len(placed)].position > placed[-1].position + 1
    assert report.clean
    assert report.topics[0].notifications == len(after)


async def test_only_the_first_findings_are_told_in_full_and_all_are_counted(
    audited: Audited, placed: list[Placed]
) -> None:
    await audited.publish([], position=placed[-1].position)

    report = await audited.audit(limit=4)

    assert len(report.findings) == 4
    assert report.counts == {Fault.MISSING: len(placed)}


async def test_it_is_clean_while_the_relay_publishes(audited: Audited) -> None:
    relay = Relay(outbox_of(audited.wiki, limit=3), audited.wire, audited.settings, grace=0)

    async with anyio.create_task_group() as running:
        running.start_soon(relay.run)
        reports = [await audited.audit()]

        async def more() -> bool:
            reports.append(await audited.audit())
            return reports[-1].topics[0].gap == 0

        await until(more)
        running.cancel_scope.cancel()

    assert all(report.clean for report in reports)
    assert reports[-1].topics[0].notifications > 0


async def test_where_there_is_no_topic_every_event_is_missing(
    audited: Audited, placed: list[Placed]
) -> None:
    await audited.publish(placed)
    async with started(AIOKafkaAdminClient(**audited.settings.client())) as admin:
        await admin.delete_topics([audited.topics.events])
    await until(lambda: is_gone(audited))

    report = await audited.audit()

    assert report.counts == {Fault.MISSING: len(placed)}


async def is_gone(audited: Audited) -> bool:
    return await partitions_of(audited.topics.events, audited.settings) == 0
