"""The search view as a process application, for the library's own runners."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, cast
from uuid import UUID

from eventsourcing.application import ProcessingEvent
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import ProcessRecorder
from eventsourcing.system import ProcessApplication

from eventsourcing_kafka.consumer.views.fts.policy import PageInfo, policy
from eventsourcing_kafka.consumer.views.fts.query import checked


class FtsRecorder(ProcessRecorder, ABC):
    """Records the pages of the search view in the transaction of their tracking.

    It takes two keyword arguments with the events to be inserted: `insert_pages` and
    `update_pages`, both sequences of `PageInfo`.
    """

    @abstractmethod
    def select_page(self, page_id: UUID) -> PageInfo | None:
        """Return the page with this ID, None if there is none."""

    @abstractmethod
    def search_pages(self, query: str) -> list[UUID]:
        """Return the IDs of the pages that match, the best match first."""


class FtsProcess(ProcessApplication[UUID]):
    """Keeps the search view; needs `PROCESS_RECORDER_TOPIC` to be one of an `FtsRecorder`."""

    env: ClassVar[dict[str, str]] = {"COMPRESSOR_TOPIC": "gzip"}

    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        """Apply the one policy of the view, and collect the page that it changes."""
        before = self._recorder.select_page(domain_event.originator_id)
        after = policy(domain_event, before)
        if after:
            purpose = "update_pages" if before else "insert_pages"
            processing_event.collect_events(**{purpose: [after]})

    def search(self, query: str) -> list[UUID]:
        """Return the IDs of the pages that match: words, `"phrases"`, `OR`, `-without`.

        Raises `SettingsError` for a query that no page could hold.
        """
        return self._recorder.search_pages(checked(query))

    @property
    def _recorder(self) -> FtsRecorder:
        return cast("FtsRecorder", self.recorder)
