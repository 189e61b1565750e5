"""Pages whose code blocks are run by tests, as they stand there."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from tests.pipeline import ROOT

SECTION = re.compile(r"^## ", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code on a page."""

    section: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, without comments."""
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in self.text.splitlines())
        return [line for line in lines if line]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that say in which language they are."""
    return [
        Block(section.splitlines()[0], *found)
        for section in SECTION.split(page.read_text())
        for found in BLOCK.findall(section)
    ]


def path() -> str:
    """Return a PATH on which `python` is the one that runs the tests."""
    return os.pathsep.join([str(ROOT / ".venv/bin"), os.environ["PATH"]])
