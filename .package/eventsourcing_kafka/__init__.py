"""The events of `eventsourcing` applications, streamed through Kafka into views, exactly once.

`producer` is the way in, `consumer` the way out, and `compose` puts them together; `testing` is a
kit for the tests of what is made with them. In the checkout they lie at its top, and are linked to
from here, so that this is their one importable name.

What others may import is here, in `__all__`; each is imported from where it is when it is first
asked for. All else may change with any version (docs/IMPORTS.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventsourcing_kafka.compose.runner import (
        KafkaEventSourcedProjectionRunner,
        KafkaProjectionRunner,
        KafkaRunner,
        in_thread,
    )
    from eventsourcing_kafka.consumer.audit import (
        AggregateHistory,
        Audit,
        AuditedEvent,
        AuditedRow,
        Comparison,
        Difference,
        Disposition,
    )
    from eventsourcing_kafka.consumer.engine.applying import CannotApplyError, OnError
    from eventsourcing_kafka.consumer.engine.consumer import Consumer
    from eventsourcing_kafka.consumer.engine.store import ViewStore
    from eventsourcing_kafka.consumer.hosting.systems import Projected
    from eventsourcing_kafka.consumer.operations.health import ViewHealth
    from eventsourcing_kafka.consumer.unit_of_work import Event, OutOfOrderError, Place, UnitOfWork
    from eventsourcing_kafka.consumer.view import View
    from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
    from eventsourcing_kafka.producer.outbox import outbox_of
    from eventsourcing_kafka.producer.relay import Relay, RelayHealth
    from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
    from eventsourcing_kafka.producer.wire import EventTypes, WireFormat

_WHERE = {
    "compose.runner": (
        "KafkaEventSourcedProjectionRunner",
        "KafkaProjectionRunner",
        "KafkaRunner",
        "in_thread",
    ),
    "consumer.audit": (
        "AggregateHistory",
        "Audit",
        "AuditedEvent",
        "AuditedRow",
        "Comparison",
        "Difference",
        "Disposition",
    ),
    "consumer.engine.applying": ("CannotApplyError", "OnError"),
    "consumer.engine.consumer": ("Consumer",),
    "consumer.engine.store": ("ViewStore",),
    "consumer.hosting.systems": ("Projected",),
    "consumer.operations.health": ("ViewHealth",),
    "consumer.unit_of_work": ("Event", "OutOfOrderError", "Place", "UnitOfWork"),
    "consumer.view": ("View",),
    "producer.kafka.settings": ("KafkaSettings",),
    "producer.outbox": ("outbox_of",),
    "producer.relay": ("Relay", "RelayHealth"),
    "producer.runtime.errors": ("OperatorError", "SettingsError"),
    "producer.wire": ("EventTypes", "WireFormat"),
}
"""A process has no more in it than it needs: a consumer no relay, and neither of them a runner."""

_MODULES = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "AggregateHistory",
    "Audit",
    "AuditedEvent",
    "AuditedRow",
    "CannotApplyError",
    "Comparison",
    "Consumer",
    "Difference",
    "Disposition",
    "Event",
    "EventTypes",
    "KafkaEventSourcedProjectionRunner",
    "KafkaProjectionRunner",
    "KafkaRunner",
    "KafkaSettings",
    "OnError",
    "OperatorError",
    "OutOfOrderError",
    "Place",
    "Projected",
    "Relay",
    "RelayHealth",
    "SettingsError",
    "UnitOfWork",
    "View",
    "ViewHealth",
    "ViewStore",
    "WireFormat",
    "in_thread",
    "outbox_of",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
