"""The wiki and its search view, for any of the library's runners."""

from __future__ import annotations

from eventsourcing.system import System

from eventsourcing_kafka.consumer.views.fts.application import FtsProcess
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement


class ContentManagementSystem(System):
    """The search view follows the wiki."""

    def __init__(self) -> None:
        super().__init__(pipes=[[ContentManagement, FtsProcess]])
