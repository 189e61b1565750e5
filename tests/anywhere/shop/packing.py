"""Who packs what was paid, and who counts the parcels: two followers, one behind the other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.projection import EventSourcedProjection

from eventsourcing_kafka.consumer.hosting.systems import Projected

from .application import Shop
from .domainmodel import Order


class Parcel(Aggregate):
    """What is sent for an order."""

    class Packed(Aggregate.Created):
        """It was packed."""

        order_id: UUID

    @event(Packed)
    def __init__(self, order_id: UUID) -> None:
        self.order_id = order_id


class Truck(Aggregate):
    """What takes a parcel along."""

    class Loaded(Aggregate.Created):
        """It was loaded."""

        parcel_id: UUID

    @event(Loaded)
    def __init__(self, parcel_id: UUID) -> None:
        self.parcel_id = parcel_id


class Packing(EventSourcedProjection[UUID]):
    """Packs a parcel for each order that is paid."""

    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        """Do nothing about others."""

    @policy.register
    def _(self, domain_event: Order.Paid, processing_event: Any) -> None:
        processing_event.collect_events(Parcel(domain_event.originator_id))


class Shipping(EventSourcedProjection[UUID]):
    """Loads each parcel."""

    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        """Do nothing about others."""

    @policy.register
    def _(self, domain_event: Parcel.Packed, processing_event: Any) -> None:
        processing_event.collect_events(Truck(domain_event.originator_id))


packing = Projected(Shop, Packing)
shipping = Projected(Packing, Shipping)
