"""The page of the architecture is true: what it names is there."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.pages import LINK, lost_links
from tests.pipeline import ROOT
from tests.test_architecture import MODULES, NAME, PACKAGES, TOP_LEVEL

FILE = ROOT / "docs" / "ARCHITECTURE.md"
PAGE = FILE.read_text()
CODE = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", PAGE)
PICTURE = re.findall(r"^```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PATHS = {
    name
    for text in [*CODE, *" ".join(PICTURE).split()]
    for name in [text.strip()]
    if re.fullmatch(rf"({'|'.join(TOP_LEVEL)})(/[\w.]+)*/?", name) and ("/" in name or name in CODE)
}
NAMES = {name for name in CODE if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", name)}


def there(name: str) -> bool:
    """Tell whether there is such a module, or such a thing in one."""
    module, rest = name, list[str]()
    while module not in MODULES and "." in module:
        module, _, last = module.rpartition(".")
        rest.insert(0, last)
    found: Any = import_module(f"{NAME}.{module}")
    for attribute in rest:
        found = getattr(found, attribute, None)
    return found is not None


def test_it_names_much_of_what_there_is() -> None:
    assert len(PATHS) > 40
    assert len(NAMES) > 40
    assert {name.partition(".")[0] for name in NAMES} == set(PACKAGES)


def test_the_paths_that_it_names_are_there() -> None:
    modules = {path for path in PATHS if (ROOT / f"{path}.py").exists()}  # In the picture.

    assert [path for path in sorted(PATHS - modules) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_name_is_there(name: str) -> None:
    assert there(name)


def test_a_name_that_is_not_there_would_be_found() -> None:
    assert there("producer.wire.chain.Link.text")
    assert not there("producer.wire.chain.Length")


def test_every_room_is_on_the_map() -> None:
    rooms = {
        f"{package}/{path.name}"
        for package in PACKAGES
        for path in (ROOT / package).iterdir()
        if path.is_dir() and not path.name.startswith("__")
    }

    assert sorted(rooms - PATHS) == []


def test_its_links_lead_somewhere() -> None:
    assert len(LINK.findall(PAGE)) > 10
    assert lost_links(FILE) == []


def test_every_word_of_the_table_is_used_elsewhere() -> None:
    words = re.findall(r"^\| ([a-z ]+) \| ", PAGE.split("## Words")[1].split("##")[0], re.MULTILINE)
    text = "".join(Path(path).read_text().lower() for path in MODULES.values())

    assert len(words) > 15
    assert [word for word in words if word != "word" and word not in text] == []
