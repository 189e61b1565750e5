"""An exporter of spans, for one test: OpenTelemetry itself takes one for ever."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from eventsourcing_kafka.producer.wire import tracing


class Traces:
    """What is exported of this process."""

    def __init__(self, provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
        self.tracer = provider.get_tracer("tests")
        self._exporter = exporter

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Return the spans whose name begins so, in the order of their ends."""
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(name)]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("eventsourcing-kafka"))
    return Traces(provider, exporter)
