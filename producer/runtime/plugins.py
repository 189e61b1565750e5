"""What installed distributions bring along: their entry points, in groups."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from eventsourcing.utils import resolve_topic

from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.logs import complain


class BroughtTwiceError(SettingsError):
    """Two distributions bring something of one name."""


def found_at(topic: str) -> Any:
    """Return what `module:name` is, imported if it is not yet.

    Raises `SettingsError` if it can't be one, or is written wrongly, or the library's `TopicError`.
    """
    module, _, name = topic.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise SettingsError(f"{topic!r} is nothing that can be imported: name it as module:Name.")
    try:
        return resolve_topic(topic)
    except SyntaxError as error:
        raise SettingsError(f"{module} can't be imported: {error}") from error


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
