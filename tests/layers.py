"""The layers of the tests. Which one a test is of is told by the fixtures that it uses.

`quick` needs no server, `integration` uses those of the session, and `slow` starts programs of its
own: a build, a browser, another server. No marker is written by hand: a test that needs a server
asks for it, and one that starts a program asks for the fixture `programs`.
"""

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

QUICK, INTEGRATION, SLOW = "quick", "integration", "slow"

SERVERS = frozenset({"kafka", "postgres"})
"""The fixtures that are the session's servers."""
CASSANDRA = "cassandra"
"""One more, that only its own tests ask for: it starts for them."""
PROGRAMS = "programs"
"""The fixture that lets a test start what it likes."""
HARMLESS = frozenset({"git"})
"""Programs that any test may start. Python and make are none: they start servers, too."""


class NotQuickError(BaseException):
    """A test that is taken for a quick one starts a program. No test expects this by accident."""


def on(*values: object, needs: Collection[str] = (), name: str | None = None) -> Any:
    """Return a parameter with which a test asks for these fixtures, by `getfixturevalue`."""
    return pytest.param(*values, marks=pytest.mark.needs(*needs), id=name)


def fixtures_of(item: pytest.Item) -> set[str]:
    """Return the names of all fixtures that a test uses, with those that its parameters need."""
    names = set(getattr(item, "fixturenames", ()))
    return names.union(*(mark.args for mark in item.iter_markers("needs")))


def layers(fixtures: Collection[str]) -> list[str]:
    """Return the markers of a test that uses these fixtures."""
    needed = [INTEGRATION] if SERVERS.intersection(fixtures) else []
    return needed + ([SLOW] if {PROGRAMS, CASSANDRA}.intersection(fixtures) else []) or [QUICK]


_quick_tests: list[str] = []
"""The quick test that is running, if one is."""


@contextmanager
def watched(item: pytest.Item) -> Iterator[None]:
    """Let no quick test start a program meanwhile."""
    if item.get_closest_marker(QUICK) is None:
        yield
        return
    _quick_tests.append(item.nodeid)
    try:
        yield
    finally:
        _quick_tests.pop()


def _refuse_programs(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _quick_tests:
        executable, command = arguments[0], arguments[1]
        program = Path(str(executable or command[0])).name
        if program not in HARMLESS:
            raise NotQuickError(
                f"{_quick_tests[-1]} starts {program}: it has to use the fixture of a server, "
                f"or `{PROGRAMS}`"
            )


sys.addaudithook(_refuse_programs)
