"""Finds the event types that an application may publish, from its class alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.domain import Decision, EnduringObject, Perspective
from eventsourcing.domain import Aggregate, BaseAggregate

from eventsourcing_kafka.producer.wire.event_types import EventTypes, classes_in, is_event_class

THE_LIBRARYS = {
    f"eventsourcing.{name}"
    for part in ("", "dcb.")
    for name in (f"{part}application", f"{part}domain", f"{part}persistence")
} | {"eventsourcing.system", "eventsourcing.dcb.msgpack"}
"""Where the library has what events are derived from. Its examples are applications like others."""


def event_types_of(application_class: type[Application[Any] | DCBApplication]) -> EventTypes:
    """Return the event types of an application: of its aggregates, or its decisions.

    They are those of the library's own `Aggregate`, and of the aggregates and the event classes
    that are defined in the application's module, in a class of it, or in a module of its package
    that it uses, and so on. So a record can name only what the application's own code has imported.
    Raises `WireError` when two of them have one name.
    """
    owners: dict[type, None] = {}
    for module in _modules(application_class.__module__):
        for value in list(vars(module).values()):
            if isinstance(value, type) and _may_have_events(value, module):
                owners[value] = None
    if issubclass(application_class, DCBApplication):
        return EventTypes(
            dict.fromkeys(decision for owner in owners for decision in _decisions(owner)),
            (owner for owner in owners if issubclass(owner, EnduringObject)),
        )
    classes = [each for owner in (Aggregate, *owners) for each in classes_in(owner)]
    return EventTypes(
        (each for each in classes if is_event_class(each)),
        (each for each in classes if issubclass(each, BaseAggregate)),
    )


def _decisions(owner: type) -> Iterator[type[Any]]:
    """Yield a class of decisions, or those that are defined in a class, however deep."""
    for value in classes_in(owner):
        if issubclass(value, Decision):
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


def _may_have_events(cls: type, module: ModuleType) -> bool:
    return _is_event_or_aggregate(cls) or (
        cls.__module__ == module.__name__ and cls.__module__ not in THE_LIBRARYS
    )


def _is_event_or_aggregate(value: Any) -> bool:
    return (
        isinstance(value, type)
        and value.__module__ not in THE_LIBRARYS
        and (issubclass(value, (BaseAggregate, Decision, Perspective)) or is_event_class(value))
    )
