"""Where what is in memory only is published, and by whom it is followed there."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import anyio
import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from eventsourcing.popo import POPORecorder
from eventsourcing.sqlite import SQLiteRecorder

from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import AnyApplication
from eventsourcing_kafka.producer.runtime.retry import describe
from eventsourcing_kafka.producer.runtime.sqlalchemy import is_sqlalchemy

logger = logging.getLogger(__name__)

DELETE_SECONDS = 5.0


class Names:
    """Under which names applications are published, and followed.

    What is in memory only ends with the process, and begins anew with the next one, at position 1:
    so it is another application, and fences nobody. Its topics, its transactional ID and its
    groups are its own, and its topics end with it. A follower in memory has all of its events to
    itself, whoever leads: so its group is its own.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._own = f"{uuid.uuid4().hex}."
        self._are_used = False

    def settings_of(self, leader: AnyApplication | None) -> KafkaSettings:
        """Return the settings for an application; for one that runs elsewhere, the lasting ones."""
        if leader is None or not is_in_memory(leader.recorder):
            return self._settings
        self._are_used = True
        topic_prefix = f"{self._settings.topic_prefix}{self._own}"
        return self._with_own_groups(
            msgspec.structs.replace(self._settings, topic_prefix=topic_prefix)
        )

    def settings_to_follow(self, leader: AnyApplication | None, recorder: Any) -> KafkaSettings:
        """Return the settings for a follower of an application, by the follower's recorder."""
        settings = self.settings_of(leader)
        return self._with_own_groups(settings) if is_in_memory(recorder) else settings

    def _with_own_groups(self, settings: KafkaSettings) -> KafkaSettings:
        group_prefix = f"{self._settings.group_prefix}{self._own}"
        return msgspec.structs.replace(settings, group_prefix=group_prefix)

    async def delete_topics(self) -> None:
        """Delete the topics of what was in memory; Kafka then forgets the groups by itself."""
        if not self._are_used:
            return
        prefix = f"{self._settings.topic_prefix}{self._own}"
        try:
            with anyio.fail_after(DELETE_SECONDS):
                async with started(AIOKafkaAdminClient(**self._settings.client())) as admin:
                    topics = [each for each in await admin.list_topics() if each.startswith(prefix)]
                    if topics:
                        await admin.delete_topics(topics)
        except Exception as error:  # noqa: BLE001 - there is nobody to mend it
            logger.warning("the topics %s* are left behind: %s", prefix, describe(error))


def is_in_memory(recorder: Any) -> bool:
    """Tell whether what a recorder of the library's has ends with the process."""
    if isinstance(recorder, SQLiteRecorder):
        return recorder.datastore.pool.is_sqlite_memory_mode
    if is_sqlalchemy(recorder):
        return recorder.datastore.is_sqlite_in_memory_db
    return isinstance(recorder, POPORecorder)
