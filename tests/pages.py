"""Pages whose code blocks are run by tests, as they stand there.

A block of Python or TOML whose first line names a file is saved; other Python is run. A block of
shell is typed, command by command, into a terminal of its own if its last command runs until it is
stopped. A block of text is what the block before it has printed, among other things.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from tests.pipeline import ROOT

SECTION = re.compile(r"^## ", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./]+\.(?:py|toml))\n")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

READY = {"compose up": "Point a shell at it", "consumer run": ""}
"""What runs until it is stopped, and what it says once it can be used."""

END = "=== typed:"


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

    @property
    def file(self) -> str | None:
        """The file that it is."""
        named = FILE.match(self.text)
        return named[1] if named else None

    @property
    def runs(self) -> str | None:
        """What of it runs until it is stopped."""
        last = self.commands[-1] if self.language == "sh" else ""
        return next((words for words in READY if f" {words}" in last), None)


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that say in which language they are."""
    return [
        Block(section.splitlines()[0], *found)
        for section in SECTION.split(page.read_text())
        for found in BLOCK.findall(section)
    ]


def anchors(page: str) -> set[str]:
    """Return the anchors that the headings of a page have."""
    return {re.sub(r"[^\w\s-]", "", it).lower().replace(" ", "-") for it in HEADING.findall(page)}


def lost_links(page: Path) -> list[str]:
    """Return the links of a page to files, and to headings, that are not there."""
    return [
        link for link in LINK.findall(page.read_text()) if ":" not in link and is_lost(page, link)
    ]


def is_lost(page: Path, link: str) -> bool:
    """Tell whether there is no such file, or no such heading in it."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return not target.exists() or bool(anchor and anchor not in anchors(target.read_text()))


def path() -> str:
    """Return a PATH on which `python` is the one that runs the tests."""
    return os.pathsep.join([str(ROOT / ".venv/bin"), os.environ["PATH"]])


class Terminal:
    """A shell that commands are typed into."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["sh"],
            cwd=folder,
            env={**env, "PATH": path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, *commands: str) -> str:
        """Have commands run, and return what they say. Each of them has to succeed."""
        return "".join(self._typed(command) for command in commands)

    def keep(self, command: str, ready: str) -> None:
        """Have a command run until the terminal is closed, and wait until it says a word."""
        self._put(f"exec {command}")
        said = ""
        while ready not in said:
            line = self._line()
            assert line, said
            said += line

    def close(self) -> str:
        """End what runs; return what else it has said."""
        self._shell.terminate()
        said, _ = self._shell.communicate()
        return said

    def _typed(self, command: str) -> str:
        self._put(f"{{ {command}\n}} < /dev/null\ncode=$?; echo; echo '{END}' $code")
        said = ""
        while not (line := self._line()).startswith(END):
            assert line, said
            said += line
        assert line.removeprefix(END).strip() == "0", f"{command}\n{said}"
        return said.removesuffix("\n")

    def _put(self, text: str) -> None:
        assert self._shell.stdin
        self._shell.stdin.write(f"{text}\n")
        self._shell.stdin.flush()

    def _line(self) -> str:
        assert self._shell.stdout
        return self._shell.stdout.readline()


class Desk:
    """A folder, a terminal in it, and one more for each thing that is kept running."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._running: dict[str, Terminal] = {}
        self._terminal = Terminal(folder, env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close all terminals, the latest first."""
        for terminal in [*reversed(self._running.values()), self._terminal]:
            terminal.close()

    def work(self, page: Sequence[Block]) -> dict[Block, str]:
        """Do all that a page says, from the top to the bottom; return what each block has said."""
        said: dict[Block, str] = {}
        before = ""
        for block in page:
            if block.language == "text":
                missing = [line for line in block.text.splitlines() if line not in before]
                assert missing == [], f"{missing} is not in\n{before}"
            else:
                before = said[block] = self.do(block)
        return said

    def do(self, block: Block) -> str:
        """Do what a block says; return what it has said. What is typed anew is started anew."""
        if block.file:
            self._save(block.file, block.text)
            return ""
        if block.language == "python":
            self._save("typed.py", block.text)
            return self._terminal.type("python typed.py")
        if not block.runs:
            return self._terminal.type(*block.commands)
        *first, last = block.commands
        if earlier := self._running.pop(last, None):
            earlier.close()
        self._running[last] = terminal = Terminal(self._folder, self._env)
        said = terminal.type(*first)
        terminal.keep(last, READY[block.runs])
        return said

    def _save(self, name: str, text: str) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
