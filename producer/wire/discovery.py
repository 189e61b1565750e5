"""Finds the event types that an application may publish, from its class alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.domain import Decision, EnduringObject, Perspective
from eventsourcing.domain import Aggregate, BaseAggregate, CanMutateAggregate, DomainEvent

from eventsourcing_kafka.producer.wire.event_types import EventTypes


def event_types_of(application_class: type[Application[Any] | DCBApplication]) -> EventTypes:
    """Return the event types of an application: of its aggregates, or its decisions.

    They are those of the library's own `Aggregate`, and of the aggregates and the event classes
    that the application's module uses, and the modules of its package that it uses, and so on. So
    a record can name only what the application's own code has imported. Raises `WireError` when
    two of them have one name.
    """
    owners: dict[type, None] = {}
    for module in _modules(application_class.__module__):
        for value in list(vars(module).values()):
            if _is_event_or_aggregate(value):
                owners[value] = None
    if issubclass(application_class, DCBApplication):
        return EventTypes(
            dict.fromkeys(decision for owner in owners for decision in _decisions(owner)),
            (owner for owner in owners if issubclass(owner, EnduringObject)),
        )
    return EventTypes.of(
        Aggregate, *(owner for owner in owners if not issubclass(owner, (Decision, Perspective)))
    )


def _decisions(owner: type) -> Iterator[type[Any]]:
    """Yield a class of decisions, or those that are defined in a class."""
    for value in (owner, *vars(owner).values()):
        if isinstance(value, type) and issubclass(value, Decision):
            yield value


def _modules(name: str) -> Iterator[ModuleType]:
    """Yield the module of this name, and those of what is used in it, each once."""
    package = name.partition(".")[0]
    to_visit, seen = [name], set()
    while to_visit:
        name = to_visit.pop()
        if name in seen or name not in sys.modules:
            continue
        seen.add(name)
        yield sys.modules[name]
        for value in list(vars(sys.modules[name]).values()):
            used = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
            if used.partition(".")[0] == package or _is_event_or_aggregate(value):
                to_visit.append(used)


def _module_of(value: Any) -> str:
    module = getattr(value, "__module__", "")
    return module if isinstance(module, str) else ""


def _is_event_or_aggregate(value: Any) -> bool:
    return (
        isinstance(value, type)
        and not value.__module__.startswith("eventsourcing.")
        and issubclass(
            value, (BaseAggregate, DomainEvent, CanMutateAggregate, Decision, Perspective)
        )
    )
