"""What one process does with the code of a shop that it has: `python -m tests.deployment.acting`.

It is told the module that the shop is in, and reads on standard input what others have stored. It
prints what it stores itself, and of both what is published, and followed. JSON, both ways.
"""

import importlib
import json
import sys
from base64 import b64decode, b64encode
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import Notification
from eventsourcing.utils import TopicError

from eventsourcing_kafka.producer.runtime.applications import known_by_name
from eventsourcing_kafka.producer.wire import Record, WireError, WireFormat
from eventsourcing_kafka.producer.wire.discovery import event_types_of
from tests.chains import linked

SETTINGS = {"PERSISTENCE_MODULE": "eventsourcing.popo", "COMPRESSOR_TOPIC": "zlib"}


def act(module: str, theirs: Any) -> Any:
    """Give a shop a command, and do with what is stored what relays and followers do."""
    shop_class = importlib.import_module(module).Shop
    with shop_class(SETTINGS) as shop:
        shop.trade()
        own = [
            [str(each.originator_id), each.originator_version, each.topic, text(each.state)]
            for each in shop.recorder.select_notifications(1, 100)
        ]
        return {"stored": own, "own": seen(shop, own), "theirs": seen(shop, theirs)}


def seen(shop: Application[UUID], stored: Any) -> Any:
    """Return what is published of what is stored, and what a follower is given for each record."""
    written = [
        Notification(UUID(originator_id), version, topic, b64decode(state), id=position)
        for position, (originator_id, version, topic, state) in enumerate(stored, 1)
    ]
    relay = WireFormat.of(shop)
    records = [linked(relay.to_record(each)) for each in written]
    reader = WireFormat("Shop", event_types_of(type(shop)), shop.mapper)
    with known_by_name("Shop")(SETTINGS) as named:
        by_name = WireFormat.of(named)
        assert records == [linked(by_name.to_record(each)) for each in written]
    return {
        "records": [repr(record) for record in records],
        "followed": [followed(reader, record) for record in records],
        "in the library": [in_the_library(shop, each) for each in written],
    }


def followed(reader: WireFormat, record: Record) -> list[str]:
    try:
        return shown(reader.to_event(reader.envelope(record.key, record.headers), record.value))
    except WireError as error:
        return [type(error).__name__, str(error)]


def in_the_library(shop: Application[UUID], stored: Notification) -> list[str]:
    try:
        return shown(shop.mapper.to_domain_event(stored))
    except TopicError as error:
        return [type(error).__name__, str(error)]


def shown(event: Any) -> list[str]:
    """Return what an event is, its values with their types."""
    return [type(event).__qualname__, repr(vars(event))]


def text(data: bytes) -> str:
    return b64encode(data).decode()


if __name__ == "__main__":
    print(json.dumps(act(sys.argv[1], json.load(sys.stdin))))  # noqa: T201 - that is what it is for
