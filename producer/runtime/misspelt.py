"""Settings that nobody reads, as their names are not quite right."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable, Iterator

logger = logging.getLogger(__name__)

NEAR = 0.85
"""So similar are two names of which one is a slip in typing the other."""

_told: set[str] = set()


def warn_of_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Say, once in a process, which variables nobody reads; of a slip, what may be meant."""
    for name in names:
        if name in known or name in _told:
            continue
        _told.add(name)
        near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
        meant = f": is it {near[0]}?" if near else "."
        logger.warning("The setting %s is unknown, and ignored%s", name, meant)


def slips(names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """Yield those names that are not known, and nearly one that is."""
    for name in names:
        if name not in known and difflib.get_close_matches(name, known, n=1, cutoff=NEAR):
            yield name
