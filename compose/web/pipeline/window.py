"""The window: what is watched, and what operators have begun, for as long as the server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio import current_time
from starlette.exceptions import HTTPException
from starlette.requests import Request

from eventsourcing_kafka.compose.monitor.overview import Sources, opened_sources
from eventsourcing_kafka.compose.web.pipeline.flow import flow_of
from eventsourcing_kafka.compose.web.pipeline.jobs import Jobs
from eventsourcing_kafka.compose.web.pipeline.polling import Pace, Poller
from eventsourcing_kafka.compose.web.rendering import render_fragment
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.hosting.threads import in_thread
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.pipeline import Pipeline


class Window:
    """One for all who look through it."""

    def __init__(
        self,
        environment: Mapping[str, str],
        sources: Sources,
        pace: Pace,
        pipeline: Pipeline | None,
    ) -> None:
        self.since = datetime.now(UTC)
        """It acts with the code of the views as it was then."""
        self.environment = environment
        self.pipeline = pipeline
        self.settings = KafkaSettings.from_env(environment)
        self.sources = sources
        self.stores: Mapping[str, Any] = sources.stores
        self.poller = Poller(sources, pace)
        self.jobs = Jobs()
        self._html = ""
        self._html_at: float | None = None

    def store(self, view: str) -> ViewStore:
        """Return a view by its name, as it comes with a request."""
        try:
            store: ViewStore = self.stores[view]
        except KeyError:
            raise HTTPException(404, "There is no such view.") from None
        return store

    def html(self) -> str:
        """Return what is so now, as HTML; for all who ask at about the same time, the same."""
        now = current_time()
        if self._html_at is None or now - self._html_at > self.poller.pace.every_seconds / 2:
            self._html_at = now
            self._html = render_fragment("pipeline/flow", flow=flow_of(self.poller, self.jobs))
        return self._html


@asynccontextmanager
async def opened_window(
    environment: Mapping[str, str], pace: Pace, pipeline: Pipeline | None = None
) -> AsyncIterator[Window]:
    """Open the window; at the end all that was begun through it is cancelled."""
    async with in_thread(opened_sources(environment, pipeline=pipeline)) as sources:
        window = Window(environment, sources, pace, pipeline)
        async with anyio.create_task_group() as tasks, window.jobs.running():
            tasks.start_soon(window.poller.run)
            yield window
            tasks.cancel_scope.cancel()


def window_of(request: Request) -> Window:
    """Return the window that a request looks through."""
    window: Window = request.app.state.pipeline
    return window
