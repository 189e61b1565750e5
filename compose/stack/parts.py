"""What a stack runs, by name; the servers themselves come with the extra `compose`."""

from collections.abc import Collection

from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.stack.sample import VIEWS

SERVERS = ("kafka", "postgres")

WEB = "web"

SERVICES: dict[str, tuple[str, ...]] = {
    "relay": ("producer", "relay"),
    **{f"consumer {view}": ("consumer", "run", view) for view in VIEWS},
    WEB: ("compose", "web"),
}
"""What runs on the servers: the command, and its arguments, of each process."""


def parts() -> list[str]:
    """Return the names of what a stack can run."""
    return [*SERVERS, *SERVICES]


def checked_parts(chosen: Collection[str]) -> Collection[str]:
    """Return the chosen parts; raises StackError when one is unknown or lacks its servers."""
    for name in chosen:
        if name not in parts():
            raise StackError(f"there is no part {name!r}: there are {', '.join(parts())}")
    if not set(SERVERS) <= set(chosen):
        for name in set(SERVICES) & set(chosen):
            raise StackError(f"{name!r} needs {' and '.join(SERVERS)}: name these as well")
    return chosen
