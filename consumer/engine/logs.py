"""Whose log line it is: one process may keep several views up to date."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class ViewLog(_Adapter):
    """Logs what is about one view: its name comes first, and is the attribute `view`, too."""

    def __init__(self, logger: logging.Logger, view: str) -> None:
        super().__init__(logger, {"view": view})
        self._view = view

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the name before a message."""
        return super().process(f"{self._view}: {msg}", kwargs)
