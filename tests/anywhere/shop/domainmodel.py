"""The orders of a shop."""

from __future__ import annotations

from eventsourcing.domain import Aggregate, event


class Order(Aggregate):
    """What a customer wants."""

    class Placed(Aggregate.Created):
        """It was ordered."""

        customer: str
        cents: int

    class Paid(Aggregate.Event):
        """It was paid for."""

    @event(Placed)
    def __init__(self, customer: str, cents: int) -> None:
        self.customer = customer
        self.cents = cents
        self.is_paid = False

    @event(Paid)
    def pay(self) -> None:
        """Take note of the money."""
        self.is_paid = True
