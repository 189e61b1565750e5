"""A relay in a process of its own, whose spans go to its standard output, a line each."""

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from eventsourcing_kafka.producer.command_line import app
from eventsourcing_kafka.producer.runtime.cli import run_commands


def line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


if __name__ == "__main__":
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=sys.stdout, formatter=line)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    run_commands(app)
