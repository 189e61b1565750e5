"""Traces: from a command over the relay to the transaction that has its effect in a view.

The context of a command travels beside its events and not in them: in the outbox in a table of
its own (`producer.outbox.traced`), in Kafka in the header `traceparent` of W3C Trace Context. So
what is stored of an event is the same with and without a trace.

Spans follow OpenTelemetry's conventions for messaging: `create` is the transaction of a command,
`send` a Kafka transaction of the relay, `process` a transaction of a view. A batch has events of
many commands, and its span is linked with all of theirs. If they are of one trace, it is a part of
that; else each of their traces gets a span of the same name, which took as long as the batch.

Only OpenTelemetry's API is used: where no exporter is installed, nothing of this is done.
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
"""What a record has for its trace: nothing of the event, and there or not for other reasons."""

R = TypeVar("R")

_tracer = trace.get_tracer("eventsourcing-kafka")
_w3c = TraceContextTextMapPropagator()


class Written(Protocol):
    """A record to be written."""

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """Its headers, to be added to."""


class Carrying(Protocol):
    """A record, written or read."""

    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]:
        """Its headers."""


class Read(Carrying, Protocol):
    """A record that was read."""

    @property
    def topic(self) -> str:
        """Where from."""


@dataclass(frozen=True)
class TracedNotification(Notification):
    """A notification with the headers that carry the trace of its command, if it has one."""

    trace_headers: Sequence[tuple[str, bytes]] = ()


def carry(notifications: Sequence[Notification], records: Iterable[Written]) -> None:
    """Have records carry the traces of their notifications."""
    if not isinstance(notifications[0], TracedNotification):  # Then none is.
        return
    for notification, record in zip(notifications, records, strict=True):
        if isinstance(notification, TracedNotification):
            record.headers.extend(notification.trace_headers)


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
def sending(topic: str, records: Iterable[Carrying]) -> Iterator[None]:
    """Have the body, which publishes a batch of records, be a part of their commands' traces."""
    with _batch("send", SpanKind.CLIENT, topic, _if_exported(records)):
        yield


@contextmanager
def processing(view: str, records: Iterable[Read]) -> Iterator[None]:
    """Have the body, which applies a batch of records, be a part of their commands' traces."""
    batch = _if_exported(records)
    topic = batch[0].topic if batch else ""
    with _batch("process", SpanKind.CONSUMER, topic, batch, {"eventsourcing.view": view}):
        yield


@contextmanager
def _batch(
    operation: str,
    kind: SpanKind,
    topic: str,
    batch: Sequence[Carrying],
    further: Mapping[str, str] | None = None,
) -> Iterator[None]:
    if not batch:
        yield
        return
    name = f"{operation} {topic}"
    attributes = {
        **_attributes(operation, len(batch)),
        "messaging.destination.name": topic,
        **(further or {}),
    }
    commands = _commands(batch)
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


def _commands(records: Iterable[Carrying]) -> Sequence[Context]:
    """Return the contexts in records that are to be recorded, each once."""
    found: dict[str, Context] = {}
    for record in records:
        carrier = {
            name: value.decode("ascii", "replace")
            for name, value in record.headers
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


def _if_exported(records: Iterable[R]) -> Sequence[R]:
    """Return records if the program that we are in has more than OpenTelemetry's API."""
    provider = trace.get_tracer_provider()
    is_nothing = isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))
    return () if is_nothing else list(records)
