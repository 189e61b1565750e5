"""Changes of a shop's code: the modules before and after, and what a follower makes of each."""

from typing import NamedTuple

USUAL = """
from decimal import Decimal

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.utils import register_topic


class Order(Aggregate):
    class Placed(Aggregate.Created):
        amount: Decimal

    class Shipped(Aggregate.Event):
        by: str

    @event(Placed)
    def __init__(self, amount: Decimal) -> None:
        self.amount = amount

    @event(Shipped)
    def ship(self, by: str) -> None:
        self.by = by


class Shop(Application):
    def trade(self) -> None:
        order = Order(amount=Decimal("5.00"))
        order.ship(by="Ada")
        self.save(order)
"""


UPCAST = """        amount: Decimal
        class_version = 2

        @staticmethod
        def upcast_v1_v2(state):
            state["amount"] = state["amount"] * 100
"""


class Change(NamedTuple):
    """A change of code, and the module that it is in afterwards."""

    after: str
    module: str = "shop"
    old_reads_new: bool = True
    """Whether a follower that has the old code reads what the new code stores; else it stops."""
    new_reads_old: bool = True


def changed(*replacements: tuple[str, str]) -> str:
    code = USUAL
    for old, new in replacements:
        assert old in code
        code = code.replace(old, new)
    return code


CHANGES = {
    "a new attribute with a default": Change(
        changed(
            ("        by: str\n", "        by: str\n        express: bool = False\n"),
            ("def ship(self, by: str)", "def ship(self, by: str, express: bool = True)"),
        )
    ),
    "a new version with an upcast": Change(
        changed(
            (
                "        amount: Decimal\n",
                UPCAST,
            ),
            ('amount=Decimal("5.00")', 'amount=Decimal("500")'),
        ),
        old_reads_new=False,
    ),
    "a renamed class": Change(
        changed(
            ("class Order(", "class Purchase("),
            ("order = Order(", "order = Purchase("),
            ("class Shop(", 'register_topic("shop:Order", Purchase)\n\n\nclass Shop('),
        ),
        old_reads_new=False,
    ),
    "a moved module": Change(
        USUAL + '\n\nimport sys\nregister_topic("shop", sys.modules[__name__])\n',
        module="trade",
        old_reads_new=False,
    ),
    "a new type": Change(
        changed(
            ("class Shop(", "class Parcel(Aggregate):\n    pass\n\n\nclass Shop("),
            ("self.save(order)", "self.save(order, Parcel())"),
        ),
        old_reads_new=False,
    ),
    "a deleted type": Change(
        changed(
            ("    class Shipped(Aggregate.Event):\n        by: str\n\n", ""),
            (
                "    @event(Shipped)\n    def ship(self, by: str) -> None:\n        self.by = by\n",
                "",
            ),
            ('        order.ship(by="Ada")\n', ""),
        ),
        new_reads_old=False,
    ),
}
