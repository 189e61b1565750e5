"""The event classes of an application are found where it defines them, wherever that is."""

import sys
from dataclasses import dataclass
from inspect import get_annotations
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, CanSnapshotAggregate, DomainEvent
from eventsourcing.utils import get_topic

from eventsourcing_kafka.producer.wire import EventTypes, WireError
from eventsourcing_kafka.producer.wire.discovery import event_types_of


class Booking(Aggregate):
    class Confirmed(Aggregate.Event):
        by: str

    @dataclass(frozen=True)
    class Charged(DomainEvent):
        """It mutates nothing."""

    class Details:
        @dataclass(frozen=True)
        class Noted(DomainEvent):
            """Two classes deep."""


class Events:
    """A namespace."""

    class Trip(Aggregate):
        class Begun(Aggregate.Event):
            pass

    @dataclass(frozen=True)
    class Ended(DomainEvent):
        """In a class that is nothing else."""


@dataclass(frozen=True)
class Happened:
    """An event by what it has, not by what it inherits."""

    originator_id: UUID
    originator_version: int


@dataclass(frozen=True)
class Photograph(DomainEvent, CanSnapshotAggregate[UUID]):
    """No event: a snapshot."""

    topic: str
    state: Any


class Agency(Application[UUID]):
    """Uses all of them."""


FOUND = [
    Booking.Created,
    Booking.Confirmed,
    Booking.Charged,
    Booking.Details.Noted,
    Events.Trip.Created,
    Events.Trip.Begun,
    Events.Ended,
    Happened,
]


@pytest.mark.parametrize("cls", FOUND, ids=lambda cls: cls.__qualname__)
def test_an_event_class_is_found_where_it_is_defined(cls: Any) -> None:
    found = event_types_of(Agency).find(get_topic(cls))

    assert found is not None
    assert found.cls is cls


@pytest.mark.parametrize("cls", [Photograph, Booking.Snapshot, Agency, Events])
def test_what_is_no_event_is_not_found(cls: Any) -> None:
    assert event_types_of(Agency).find(get_topic(cls)) is None


def test_aggregates_in_a_namespace_are_known() -> None:
    assert event_types_of(Agency).knows_aggregate(get_topic(Events.Trip))


def test_two_classes_of_one_published_name_are_refused_with_both() -> None:
    body = {"__annotations__": get_annotations(Happened)}
    one, other = (type("Happened", (), {"__module__": name, **body}) for name in ("one", "other"))

    with pytest.raises(WireError, match=r"other:Happened and one:Happened.*another name"):
        EventTypes.of(one, other)


def test_what_is_in_an_aggregate_is_published_whoever_inherits_from_it() -> None:
    body = {"__qualname__": "Booking.Confirmed", "__module__": "fourth"}
    other = type("Confirmed", (Aggregate.Event,), body)
    type("Again", (other,), {"__module__": "fourth"})

    with pytest.raises(WireError, match="give one of them another name"):
        EventTypes.of(Booking, other)


def test_a_class_that_others_inherit_from_may_have_the_name_of_another() -> None:
    base = type("Happened", (Happened,), {"__module__": "third"})
    inheriting = type("Moved", (base,), {"__module__": "third"})

    types = EventTypes.of(Happened, base, inheriting)

    assert {known.cls for known in types} == {Happened, base, inheriting}


def test_an_application_that_is_in_the_library_s_package_has_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the examples are that come with it."""
    name = "eventsourcing.examples_of_ours"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    parcel = type("Parcel", (Aggregate,), {"__module__": name, "__qualname__": "Parcel"})
    shop = type("Shop", (Application,), {"__module__": name, "__qualname__": "Shop"})
    vars(module).update(Parcel=parcel, Shop=shop)

    assert event_types_of(shop).find(f"{name}:Parcel.Created")
