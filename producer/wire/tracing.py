"""Traces: from a command over the relay to the transaction that has its effect in a view.

The context of a command travels beside its events and not in them: in the outbox in a table of
its own (`producer.outbox.traced`), in Kafka in the header `traceparent` of W3C Trace Context. So
what is stored of an event is the same with and without a trace.

Spans follow OpenTelemetry's conventions for messaging: `create` is the transaction of a command,
`send` a Kafka transaction of the relay, `process` a transaction of a view. A batch has events of
many commands, and its span is linked with all of theirs. If they are of one trace, it is a part of
that; else each of their traces gets a span of the same name, which took as long as the batch.

Only OpenTelemetry's API is used: in a program that installs no more than that, all of this does
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from eventsourcing.persistence import Notification
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
TRACE_HEADERS = (TRACEPARENT, TRACESTATE)
"""The headers of a record that belong to its trace, and not to the event."""

R = TypeVar("R")

_tracer = trace.get_tracer("eventsourcing-kafka")
_w3c = TraceContextTextMapPropagator()


class ReadRecord(Protocol):
    """A record that was read from Kafka."""

    @property
    def headers(self) -> TraceHeaders:
        """Its headers."""

    @property
    def topic(self) -> str:
        """The topic that it was read from."""


@dataclass(frozen=True)
class TracedNotification(Notification):
    """A notification with the headers that carry the trace of its command, if it has one."""

    trace_headers: Sequence[tuple[str, bytes]] = ()


TraceHeaders = Iterable[tuple[str, bytes | None]]
"""Headers that carry a trace, perhaps; others may be among them."""


def trace_of(notification: Notification) -> Sequence[tuple[str, bytes]]:
    """Return the headers that carry the trace of a notification."""
    return notification.trace_headers if isinstance(notification, TracedNotification) else ()


def traces_of(notifications: Iterable[Notification]) -> Sequence[TraceHeaders]:
    """Return the trace headers of each notification; nothing if no spans are recorded."""
    return [trace_of(notification) for notification in _if_recorded(notifications)]


def current_trace() -> Mapping[str, str]:
    """Return the context of the current span, by header; nothing unless it is to be recorded."""
    carrier: dict[str, str] = {}
    if _context().trace_flags.sampled:
        _w3c.inject(carrier)
    return carrier


@contextmanager
def creating(where: str, events: int) -> Iterator[None]:
    """Have the body, which records the events of a command, be a span of its trace."""
    attributes = _attributes("create", events)
    with _span(f"create {where}", kind=SpanKind.PRODUCER, attributes=attributes):
        yield


@contextmanager
def sending(topic: str, traces: Sequence[TraceHeaders]) -> Iterator[None]:
    """Have the body, which publishes a batch of records, be a part of their commands' traces."""
    with _batch("send", SpanKind.CLIENT, topic, traces):
        yield


@contextmanager
def processing(view: str, records: Iterable[ReadRecord]) -> Iterator[None]:
    """Have the body, which applies a batch of records, be a part of their commands' traces."""
    batch = _if_recorded(records)
    topic = batch[0].topic if batch else ""
    traces = [record.headers for record in batch]
    with _batch("process", SpanKind.CONSUMER, topic, traces, {"eventsourcing.view": view}):
        yield


@contextmanager
def _batch(
    operation: str,
    kind: SpanKind,
    topic: str,
    traces: Sequence[TraceHeaders],
    further: Mapping[str, str] | None = None,
) -> Iterator[None]:
    if not traces:
        yield
        return
    name = f"{operation} {topic}"
    attributes = {
        **_attributes(operation, len(traces)),
        "messaging.destination.name": topic,
        **(further or {}),
    }
    commands = _commands(traces)
    firsts: dict[int, Context] = {}
    for command in commands:
        firsts.setdefault(_context(command).trace_id, command)
    alone = commands[0] if len(firsts) == 1 else Context()
    links = [Link(_context(command)) for command in commands]
    started = time.time_ns()
    with _span(name, kind=kind, attributes=attributes, links=links, context=alone) as whole:
        yield
    if len(firsts) > 1:
        for command in firsts.values():
            _tracer.start_span(
                name,
                context=command,
                kind=kind,
                attributes=attributes,
                links=[Link(whole.get_span_context())],
                start_time=started,
            ).end()


def _commands(traces: Iterable[TraceHeaders]) -> Sequence[Context]:
    """Return the contexts in headers that are to be recorded, each once."""
    found: dict[str, Context] = {}
    for headers in traces:
        carrier = {
            name: value.decode("ascii", "replace")
            for name, value in headers
            if value and name in TRACE_HEADERS
        }
        parent = carrier.get(TRACEPARENT)
        if parent and parent not in found:
            context = _w3c.extract(carrier, Context())
            if _context(context).trace_flags.sampled:
                found[parent] = context
    return list(found.values())


@contextmanager
def _span(name: str, **options: Any) -> Iterator[Span]:
    """Have the body be a span; of an error it tells the type only, as its text may quote events."""
    with _tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False, **options
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__qualname__)
            raise


def _attributes(operation: str, events: int) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.batch.message_count": events,
    }


def _context(context: Context | None = None) -> SpanContext:
    """Return which span is the current one in a context, or here."""
    return trace.get_current_span(context).get_span_context()


def _if_recorded(batch: Iterable[R]) -> Sequence[R]:
    """Return a batch as a list; empty if the program has nothing but OpenTelemetry's API."""
    provider = trace.get_tracer_provider()
    is_nothing = isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))
    return () if is_nothing else list(batch)
