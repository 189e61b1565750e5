"""The views there are: every folder of this package that has a `VIEW`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import typer

from eventsourcing_kafka.consumer import views as here
from eventsourcing_kafka.consumer.audit import Audit
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.runtime.errors import SettingsError


class UnknownViewError(SettingsError):
    """No view has this name."""


@cache
def views() -> dict[str, View]:
    """Return all views by name."""
    found = (getattr(folder, "VIEW", None) for folder in _folders())
    return {view.name: view for view in found if view}


def view_commands() -> list[typer.Typer]:
    """Return the commands that views bring with them, as `COMMANDS`."""
    found = (getattr(folder, "COMMANDS", None) for folder in _folders())
    return [commands for commands in found if commands]


def audit_of(view: View) -> Audit | None:
    """Return the audit that a view brings with it, as `AUDIT`; None if it brings none."""
    return next(
        (
            getattr(folder, "AUDIT", None)
            for folder in _folders()
            if getattr(folder, "VIEW", None) is view
        ),
        None,
    )


def _folders() -> list[ModuleType]:
    names = (found.name for found in iter_modules(here.__path__) if found.ispkg)
    return [import_module(f"{here.__name__}.{name}") for name in names]


def view_named(name: str) -> View:
    """Return the view of a name. Raises `UnknownViewError` with the names there are."""
    try:
        return views()[name]
    except KeyError:
        raise UnknownViewError(
            f"There is no view {name!r}. There are: {', '.join(sorted(views()))}."
        ) from None
