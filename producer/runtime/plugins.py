"""What installed distributions bring along: their entry points, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import typer

from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.logs import complain


class BroughtTwiceError(SettingsError):
    """Two distributions bring something of one name."""


@cache
def brought(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by their names. Nothing is imported.

    Raises `BroughtTwiceError`: which of them is meant would depend on the order of folders.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group)):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise BroughtTwiceError(
                f"{point.name!r} in {group} is {other.value} by {distribution(other)}, and "
                f"{point.value} by {distribution(point)}: uninstall one of them."
            )
    return found


def distribution(point: EntryPoint) -> str:
    """Return who brings an entry point, for people."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def brought_commands(part: str) -> Iterator[typer.Typer]:
    """Yield the commands that distributions add to a part of the command line, in order.

    Of one that can't be imported it is said, and nothing else suffers.
    """
    for point in brought(f"eventsourcing_kafka.commands.{part}").values():
        try:
            commands = point.load()
        except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
            complain(f"no commands {point.name!r} of {distribution(point)}: {error!r}")
        else:
            yield commands
