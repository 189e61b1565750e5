"""What the classes of events say of their attributes."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, ClassVar, TypeVar, get_origin, get_type_hints

from eventsourcing_kafka.producer.wire.event_types import EventType


class Attributes:
    """The attributes of one event class: their types, and which have defaults."""

    def __init__(self, event_type: EventType) -> None:
        cls: Any = event_type.cls
        fields: tuple[dataclasses.Field[Any], ...] = (
            dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        )
        self.defaults: dict[str, Any] = {
            field.name: field.default
            for field in fields
            if field.default is not dataclasses.MISSING
        }
        self.types = _attribute_types(cls)


def _attribute_types(cls: type) -> dict[str, Any]:
    """Return name and type of each attribute; an attribute without an annotation is `Any`."""
    hints = {}
    for name, hint in get_type_hints(cls).items():
        if get_origin(hint) is ClassVar or hint is ClassVar:
            continue
        if isinstance(hint, TypeVar):
            hints[name] = getattr(cls, "originator_id_type", None) or Any
        else:
            hints[name] = Any if hint is inspect.Parameter.empty else hint
    return hints
