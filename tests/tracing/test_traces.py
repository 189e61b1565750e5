"""One trace leads from a command over the relay to the transaction that has its effect in a view.

The relay is a process of its own; the wiki and the view are in this one.
"""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from eventsourcing.persistence import Notification
from eventsourcing.system import ProcessApplication, System
from eventsourcing.utils import get_topic
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    use_span,
)

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.outbox.traced import TracedProcessRecorder, TracedRecorder
from eventsourcing_kafka.producer.wire.tracing import TRACEPARENT, TracedNotification, processing
from examples.counters.application import Counters
from examples.dogschool.application import DogSchool
from tests.operations.child import child
from tests.outbox.readers import reading
from tests.pipeline import RELAY, Pipeline

from .conftest import Traces

TRACED = {
    "CONTENTMANAGEMENT_APPLICATION_RECORDER_TOPIC": get_topic(TracedRecorder),
    "KAFKA_TOPIC_PARTITIONS": "1",
}
SYSTEM = {
    "APPLICATION_RECORDER_TOPIC": get_topic(TracedRecorder),
    "PROCESS_RECORDER_TOPIC": get_topic(TracedProcessRecorder),
}


class Onlooker(ProcessApplication[UUID]):
    """Follows a follower."""

    def policy(self, domain_event: Any, processing_event: Any) -> None:
        """Do nothing."""


def trace_id(span: ReadableSpan) -> str:
    return f"{context(span).trace_id:032x}"


def context(span: ReadableSpan) -> SpanContext:
    assert isinstance(span.context, SpanContext)
    return span.context


def header_of(span: ReadableSpan) -> str:
    return f"00-{trace_id(span)}-{context(span).span_id:016x}-{context(span).trace_flags:02x}"


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def linked(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def exported(log: Path, name: str) -> list[dict[str, Any]]:
    """Return the spans of another process whose name begins so."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [span for span in map(json.loads, lines) if span["name"].startswith(name)]


async def records(pipeline: Pipeline) -> list[ConsumerRecord]:
    """Read the topic as anybody may."""
    topic = Topics.of("ContentManagement", pipeline.settings).events
    partition, settings = TopicPartition(topic, 0), pipeline.settings.client()
    kafka = AIOKafkaConsumer(
        **settings, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    async with started(kafka):
        kafka.assign([partition])
        await kafka.seek_to_beginning(partition)
        end, found = (await kafka.end_offsets([partition]))[partition], []
        while await kafka.position(partition) < end:
            found += (await kafka.getmany(partition, timeout_ms=50)).get(partition, [])
        return found


@pytest.mark.usefixtures("programs")
async def test_a_trace_leads_from_a_command_over_the_relay_to_the_row_in_the_view(
    environment: dict[str, str], traces: Traces, tmp_path: Path
) -> None:
    log = tmp_path / "relay.log"
    async with Pipeline(environment | TRACED, relay=False, consumers=0) as pipeline:

        def request(slug: str) -> str:
            with traces.tracer.start_as_current_span("request") as span:
                pipeline.wiki.create_page(slug, slug)
                return f"{span.get_span_context().trace_id:032x}"

        # Of two commands at once the relay makes one batch, and so does the view.
        both = {await pipeline.do(request, "rose"), await pipeline.do(request, "tulip")}
        async with child(pipeline.environment, log, *RELAY[1:], module="tests.tracing.exporting"):
            await pipeline.published()
            pipeline.start_consumer()
            await pipeline.settled()
            alone = await pipeline.do(request, "daisy")
            await pipeline.settled()
        found = await records(pipeline)
        report = await audit(pipeline.environment, ["fts"])

    creates = traces.spans("create ")
    requests = {trace_id(span): context(span).span_id for span in traces.spans("request")}
    assert [requests[trace_id(span)] for span in creates] == [parent_id(span) for span in creates]
    assert {span.kind for span in creates} == {SpanKind.PRODUCER}
    # The header is of the command, in each record of it.
    headers = [dict(record.headers)[TRACEPARENT].decode() for record in found]
    assert headers == [header_of(span) for span in creates for _ in range(3)]
    assert report.clean

    *together, last = traces.spans("process ")
    assert (trace_id(last), parent_id(last)) == (alone, context(creates[-1]).span_id)
    whole, *each = together
    assert whole.parent is None
    assert linked(whole) == {context(span).span_id for span in creates[:2]}
    assert {trace_id(span) for span in each} == both
    assert [parent_id(span) for span in each] == [context(span).span_id for span in creates[:2]]
    assert all(linked(span) == {context(whole).span_id} for span in each)
    assert {span.kind for span in traces.spans("process ")} == {SpanKind.CONSUMER}
    assert whole.attributes
    assert whole.attributes["messaging.batch.message_count"] == 6

    sent = exported(log, "send ")
    assert [span["context"]["trace_id"] for span in sent[1:]] == [
        f"0x{trace}" for trace in (*map(trace_id, each), alone)
    ]
    assert len(sent[0]["links"]) == 2
    assert sent[0]["attributes"]["messaging.batch.message_count"] == 6


def test_a_trace_goes_on_through_the_applications_that_follow(
    environment: dict[str, str], traces: Traces
) -> None:
    system = System(pipes=[[DogSchool, Counters, Onlooker]])
    with KafkaRunner(system, environment | SYSTEM) as runner:
        school = runner.get(DogSchool)
        with traces.tracer.start_as_current_span("request"):
            school.register_dog("Billy")
            school.add_trick("Billy", "fetch")
        runner.wait()
    topics = {span.name.rpartition(" ")[2].split(".")[1] for span in traces.spans("send ")}
    assert topics == {"dogschool", "counters"}
    assert len({trace_id(span) for span in traces.spans()}) == 1


def write(settings: dict[str, str]) -> tuple[list[Notification], list[Any]]:
    """Create a page, and return what the outbox has of it, and the rows of the traces."""
    with ContentManagement(settings) as wiki:
        wiki.create_page("A rose", "rose")
        assert isinstance(wiki.recorder, TracedRecorder)
        with wiki.recorder.datastore.get_connection() as connection:
            rows = connection.execute(f"SELECT * FROM {wiki.recorder.traces_table_name}").fetchall()

        async def read() -> list[Notification]:
            async with reading(outbox_of(wiki)) as batches:
                return list(await anext(batches))

        return anyio.run(read), rows


def carried(notifications: list[Notification]) -> list[dict[str, bytes]]:
    return [dict(n.trace_headers) for n in notifications if isinstance(n, TracedNotification)]


def test_without_an_exporter_nothing_is_kept_or_carried(environment: dict[str, str]) -> None:
    notifications, rows = write(environment | TRACED)

    assert rows == []
    assert carried(notifications) == [{}] * 3


def test_of_a_trace_that_is_not_sampled_nothing_is_kept_or_carried(
    environment: dict[str, str], traces: Traces
) -> None:
    unsampled = SpanContext(trace_id=7, span_id=7, is_remote=True, trace_flags=TraceFlags(0))
    with use_span(NonRecordingSpan(unsampled)):
        notifications, rows = write(environment | TRACED)

    assert rows == []
    assert carried(notifications) == [{}] * 3
    assert traces.spans() == []


def test_a_trace_leaves_the_stored_events_as_they_are_and_who_knows_nothing_of_it_reads_on(
    environment: dict[str, str], traces: Traces
) -> None:
    state = TraceState([("vendor", "value")])
    sampled = SpanContext(7, 7, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    with use_span(NonRecordingSpan(sampled)):
        notifications, rows = write(environment | TRACED)
    assert len(rows) == 3
    assert {headers["tracestate"] for headers in carried(notifications)} == {b"vendor=value"}

    with ContentManagement(environment) as plain:
        assert plain.get_page_by_slug("rose")["title"] == "A rose"
        plain.update_body("rose", "is a rose")
        known = plain.recorder.select_notifications(1, 10)
        events = [plain.mapper.to_domain_event(notification) for notification in known]
    assert not any(TRACEPARENT in vars(event) for event in events)
    assert [n.state for n in known[:3]] == [n.state for n in notifications]

    with ContentManagement(environment | TRACED) as wiki:
        assert wiki.get_page_by_slug("rose")["body"] == "is a rose"


def test_a_batch_that_fails_tells_the_type_of_the_error_and_quotes_nothing(traces: Traces) -> None:
    record = ConsumerRecord("topic", 0, 0, 0, 0, b"", b"", None, 0, 0, ((TRACEPARENT, b"\xff"),))
    with pytest.raises(ValueError, match="secret"), processing("fts", [record]):
        raise ValueError("a secret")
    (span,) = traces.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes
    assert span.attributes["error.type"] == "ValueError"
    assert "secret" not in str(span.to_json())
    assert (span.parent, span.links) == (None, ())
