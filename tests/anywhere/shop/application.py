"""What is done with orders."""

from __future__ import annotations

from uuid import UUID

from eventsourcing.application import Application

from .domainmodel import Order


class Shop(Application[UUID]):
    """Takes orders, and money."""

    def place(self, customer: str, cents: int) -> UUID:
        """Take an order."""
        order = Order(customer=customer, cents=cents)
        self.save(order)
        return order.id

    def pay(self, order_id: UUID) -> int:
        """Take the money; return the position of the event."""
        order: Order = self.repository.get(order_id)
        order.pay()
        return self.save(order)[-1].notification.id
