"""A pipeline in a file: which applications it has, and what follows them, with their settings.

    [settings]                                # of all; as variables of the environment
    KAFKA_TOPIC_PREFIX = "orders."

    [applications]
    Shop = "orders.application:Shop"          # its code; or {} where only its name is known

    [applications.Packing]                    # records events of its own, and is followed
    class = "orders.packing:Packing"
    settings.POSTGRES_DBNAME = "packing"      # PACKING_POSTGRES_DBNAME

    [views]
    orders = "orders.views:ORDERS"

    [followers]
    Packing = "orders.packing:packing"        # a `Projected`

    [systems]
    shipping = "orders.shipping:system"       # a `System` of the library's

Here it is only read. What it names is imported by who needs it; `eventsourcing-kafka compose check`
imports all of it. Whatever the environment sets goes before the file.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
import typer

from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.secrets import FILE

FILE_NAME = "pipeline.toml"
"""Where a pipeline is looked for in the current folder."""

PIPELINE_FILE = "PIPELINE_FILE"
"""The variable that names another file."""

SETTING = re.compile(r"[A-Z][A-Z0-9_]*")

Settings = dict[str, str | int]

OnErrorWord = Literal["park", "stop", "raise"]
"""What becomes of an event that can't be applied."""

PipelineFile = Annotated[
    Path | None,
    typer.Option(
        "--with",
        metavar="FILE",
        envvar=PIPELINE_FILE,
        help="The pipeline that it is about.",
        show_default=f"{FILE_NAME} of this folder, if it has one",
    ),
]


class PipelineError(SettingsError):
    """A file is no pipeline. `problems` are all that is wrong with it, a line each."""

    def __init__(self, file: Path, problems: Sequence[str]) -> None:
        more = f" ({len(problems) - 1} more: eventsourcing-kafka compose check --with {file})"
        super().__init__(problems[0] + (more if problems[1:] else ""))
        self.problems = problems


class Problem(NamedTuple):
    """What is wrong with a line."""

    line: int
    what: str
    path: Sequence[str] = ()
    """The keys that lead to it."""


def by_line(file: Path, problems: Collection[Problem]) -> list[str]:
    """Return what is told of some problems, in the order of the lines."""
    ordered = sorted(problems, key=lambda problem: problem.line)
    return [f"{file}:{problem.line}: {problem.what}" for problem in ordered]


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """An application whose events are published."""

    at: str = msgspec.field(default="", name="class")
    """`module:Class`; where that is not said no more is known than its name."""
    decrypt: bool = False
    """Whether what it stores encrypted is published as plain JSON."""
    settings: Settings = {}


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A view; where it is not said where it is, it is installed."""

    at: str = msgspec.field(default="", name="view")
    on_error: OnErrorWord = "park"
    settings: Settings = {}


class Follower(msgspec.Struct, frozen=True, kw_only=True):
    """A projection of the library's, or a follower that records events of its own."""

    at: str = msgspec.field(name="projection")
    on_error: OnErrorWord = "park"
    settings: Settings = {}


class System(msgspec.Struct, frozen=True, kw_only=True):
    """A system of the library's, with the relays of its leaders, in a process."""

    at: str = msgspec.field(name="system")
    on_error: OnErrorWord = "park"
    settings: Settings = {}
    """As variables: a system has several applications, which tell theirs by their prefix."""


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """What a pipeline is made of, by name."""

    file: Path | None = None
    settings: Settings = {}
    applications: dict[str, Application] = {}
    views: dict[str, View] = {}
    followers: dict[str, Follower] = {}
    systems: dict[str, System] = {}

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with the settings of the file in it, where it has no others."""
        found: Settings = dict(self.settings)
        for system in self.systems.values():
            found |= system.settings
        named: Mapping[str, Application | View | Follower] = {
            **self.applications,
            **self.views,
            **self.followers,
        }
        for name, part in named.items():
            found |= _prefixed(name, part.settings)
        if self.file:
            found[PIPELINE_FILE] = str(self.file)
        wanted = {name: str(value) for name, value in found.items() if _twin(name) not in env}
        return {**wanted, **env}

    def line(self, *keys: str) -> int:
        """Return the line of the file in which something is set, or what it is a part of."""
        return line_of(self.file.read_text().splitlines(), keys) if self.file else 1


def _twin(name: str) -> str:
    """Return the other way in which a secret is set: itself, or by the file that it is in."""
    return name.removesuffix(FILE) if name.endswith(FILE) else name + FILE


def _prefixed(name: str, settings: Settings) -> Settings:
    return {f"{name.upper()}_{key}": value for key, value in settings.items()}


class Section(NamedTuple):
    """A table of the file, with a part of the pipeline under each name."""

    part: type[msgspec.Struct]
    topic: str
    """The key that a text in the place of a part stands for."""


SECTIONS = {
    "applications": Section(Application, "class"),
    "views": Section(View, "view"),
    "followers": Section(Follower, "projection"),
    "systems": Section(System, "system"),
}


def found_pipeline(file: Path | None) -> Pipeline | None:
    """Return the pipeline of a file; without one that of the current folder, or None.

    Modules are looked for in the folder of the file, too. Raises `PipelineError`.
    """
    if file is None:
        file = Path(FILE_NAME)
        if not file.exists():
            return None
    pipeline = read_pipeline(file)
    look_beside(file)
    return pipeline


def pipeline_here() -> Pipeline:
    """Return what can be read of the pipeline of this shell or folder: nothing, without one."""
    with suppress(PipelineError):
        return read_what_can_be(Path(os.environ.get(PIPELINE_FILE) or FILE_NAME))[0]
    return Pipeline()


def look_beside(file: Path) -> None:
    """Have Python look for modules in the folder of a pipeline, too."""
    folder = str(file.absolute().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)


def settings_with(file: Path | None) -> Mapping[str, str]:
    """Return the settings of this shell, over those of a pipeline, if there is one."""
    pipeline = found_pipeline(file)
    return pipeline.environment(os.environ) if pipeline else os.environ


def read_pipeline(file: Path) -> Pipeline:
    """Read a pipeline. Raises `PipelineError` with all that is wrong with the file."""
    pipeline, problems = read_what_can_be(file)
    if problems:
        raise PipelineError(file.absolute(), by_line(file.absolute(), problems))
    return pipeline


def read_what_can_be(file: Path) -> tuple[Pipeline, Sequence[Problem]]:
    """Read as much of a pipeline as can be understood, and what is wrong with the rest.

    Raises `PipelineError` for a file of which nothing can be.
    """
    file = file.absolute()
    try:
        text = file.read_text()
        found = tomllib.loads(text)
    except OSError as error:
        raise PipelineError(file, [f"{file}: can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise PipelineError(file, [f"{file}: can't be read: it is not text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise PipelineError(file, [_syntax_error(file, str(error))]) from None
    reader = _Reader(file, text.splitlines())
    return reader.pipeline(found), reader.problems


def _syntax_error(file: Path, said: str) -> str:
    what, _, where = said.rstrip(")").partition(" (at line ")
    line = f":{where.partition(',')[0]}" if where else ""
    return f"{file}{line}: {said if not where else what}"


class _Reader:
    """Makes a pipeline of tables, and notes what is wrong with them."""

    def __init__(self, file: Path, lines: Sequence[str]) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._lines = lines

    def pipeline(self, found: Mapping[str, Any]) -> Pipeline:
        """Return as much of it as can be understood."""
        known = self._known(found, ["settings", *SECTIONS])
        parts = {
            name: self._section(name, section, known.get(name, {}))
            for name, section in SECTIONS.items()
        }
        settings = self._settings(("settings",), known.get("settings", {}))
        if not any(known.get(name) for name in SECTIONS):
            self._note((), "there is nothing in it: name an application, as [applications] does")
        return Pipeline(file=self._file, settings=settings, **parts)

    def _section(self, name: str, section: Section, found: Any) -> dict[str, Any]:
        if not isinstance(found, dict):
            self._note((name,), f"[{name}] has to be a table, with a name for each")
            return {}
        parts = {key: self._part((name, key), section, value) for key, value in found.items()}
        return {key: part for key, part in parts.items() if part is not None}

    def _part(self, path: tuple[str, ...], section: Section, found: Any) -> Any:
        table = {section.topic: found} if isinstance(found, str) else found
        if not isinstance(table, dict):
            self._note(path, f"{path[-1]} has to be module:NAME, or a table")
            return None
        fields = [field.encode_name for field in msgspec.structs.fields(section.part)]
        known = self._known(table, fields, path)
        settings = self._settings((*path, "settings"), known.get("settings", {}))
        try:
            return msgspec.convert({**known, "settings": settings}, section.part)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$.")
            key = where.rstrip("`").partition(".")[0]
            if key == "on_error" and isinstance(table[key], str):
                what = f"there is no {table[key]!r}{nearest(table[key], get_args(OnErrorWord))}"
            self._note((*path, key), f"{'.'.join(filter(None, (*path, key)))}: {what}")
            return None

    def _settings(self, path: tuple[str, ...], found: Any) -> Settings:
        if not isinstance(found, dict):
            self._note(path, f"{'.'.join(path)} has to be a table of variables")
            return {}
        settings: Settings = {}
        for name, value in found.items():
            if not SETTING.fullmatch(name):
                self._note((*path, name), f"{name} is no name of a variable, as POSTGRES_DBNAME is")
            elif isinstance(value, bool) or not isinstance(value, str | int):
                self._note((*path, name), f"{name} has to be a text or a whole number")
            else:
                settings[name] = value
        return settings

    def _known(
        self, found: Mapping[str, Any], known: Collection[str], path: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return what is known, and note what is not, with what may be meant."""
        for key in found.keys() - known:
            inside = f" in {'.'.join(path)}" if path else ""
            self._note((*path, key), f"there is no {key!r}{inside}{nearest(key, known)}")
        return {key: value for key, value in found.items() if key in known}

    def _note(self, path: Sequence[str], what: str) -> None:
        self.problems.append(Problem(line_of(self._lines, path), what, path))


def near_miss(word: str, known: Collection[str]) -> str | None:
    """Return what somebody may mean by a word that is none of those; None if nothing is near."""
    near = difflib.get_close_matches(word, known, 1, cutoff=0.85)
    return near[0] if near and word not in known else None


def nearest(word: str, known: Collection[str]) -> str:
    """Return what somebody may mean by a word, to be said after it."""
    near = difflib.get_close_matches(word, known, 1)
    return f": did you mean {near[0]!r}?" if near else f": there are {', '.join(sorted(known))}"


TABLE = re.compile(r"\s*\[([^\[\]]+)\]")
KEY = re.compile(r"""\s*([\w."'\s-]+?)\s*=""")


def line_of(lines: Sequence[str], path: Sequence[str]) -> int:
    """Return the line where a key is set, or as much of the way to it as is there."""
    best, at = 0, 1
    for number, here in _keys(lines):
        common = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(here, path, strict=False))
        )
        if common > best:
            best, at = common, number
    return at


def _keys(lines: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the lines that set a key, or begin a table, and which."""
    table: list[str] = []
    for number, line in enumerate(lines, 1):
        if begun := TABLE.match(line):
            table = _words(begun[1])
            yield number, table
        elif key := KEY.match(line):
            yield number, [*table, *_words(key[1])]


def _words(dotted: str) -> list[str]:
    return [word.strip(" \t\"'") for word in dotted.split(".")]
