"""The views there are: every folder of this package that has a `VIEW`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import consumer
from consumer.view import View


class UnknownViewError(ValueError):
    """No view has this name."""


@cache
def views() -> dict[str, View]:
    """Return all views by name."""
    packages = (found.name for found in iter_modules(consumer.__path__) if found.ispkg)
    modules = (import_module(f"consumer.{name}") for name in packages)
    found = (getattr(module, "VIEW", None) for module in modules)
    return {view.name: view for view in found if view}


def view_named(name: str) -> View:
    """Return the view of a name. Raises `UnknownViewError` with the names there are."""
    try:
        return views()[name]
    except KeyError:
        raise UnknownViewError(
            f"There is no view {name!r}. There are: {', '.join(sorted(views()))}."
        ) from None
