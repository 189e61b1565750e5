"""Where what is in memory only is published."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from eventsourcing.application import Application
from eventsourcing.popo import POPOApplicationRecorder

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings


class TopicsOfApplications:
    """Where applications are published.

    What is in memory only ends with the process, and begins anew with the next one, at position 1:
    so it is published to topics of its own, which end with it too.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._settings_in_memory = msgspec.structs.replace(
            settings, topic_prefix=f"{settings.topic_prefix}{uuid.uuid4().hex}."
        )

    def settings_of(self, app: Application[Any] | None) -> KafkaSettings:
        """Return the settings for an application; for one that runs elsewhere, the lasting ones."""
        in_memory = app is not None and isinstance(app.recorder, POPOApplicationRecorder)
        return self._settings_in_memory if in_memory else self._settings
