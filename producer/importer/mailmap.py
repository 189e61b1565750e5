"""Who an author is by the file `.mailmap`, read as git reads it.

libgit2 has this as well, but tells addresses in capitals from others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

PERSON = re.compile(r"(?P<name>[^<]*)<(?P<email>[^>]*)>")


class Person(NamedTuple):
    """What an author is to be called; None for what stays as it is."""

    name: str | None
    email: str | None


class Mailmap:
    """By which names and addresses authors are known, and what they are called."""

    def __init__(self, *files: str) -> None:
        """Read some files, of which a later one takes precedence."""
        self._by_email: dict[str, Person] = {}
        self._by_both: dict[tuple[str, str], Person] = {}
        for line in (line for file in files for line in file.split("\n")):
            self._read(line)

    def resolve(self, name: str, email: str) -> tuple[str, str]:
        """Return the name and the address of the author who is known by these."""
        by_email = self._by_email.get(email.lower(), Person(None, None))
        known = self._by_both.get((email.lower(), name.lower()), by_email)
        return known.name or name, known.email or email

    def _read(self, line: str) -> None:
        if line.startswith("#"):
            return
        people = list(_people(line))
        if not people or not people[0].email:
            return
        called, known = people[0], people[-1]
        if len(people) == 1:
            called = Person(called.name, None)
        email = (known.email or "").lower()
        if len(people) > 1 and known.name:
            self._by_both[email, known.name.lower()] = called
        else:
            before = self._by_email.get(email, Person(None, None))
            self._by_email[email] = Person(called.name or before.name, called.email or before.email)


def _people(line: str) -> Iterator[Person]:
    """Yield the one or two people of a line."""
    at = 0
    for _ in range(2):
        person = PERSON.match(line, at)
        if person is None:
            return
        yield Person(person["name"].strip() or None, person["email"])
        at = person.end()
