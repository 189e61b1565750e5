"""The page about the library is true: each row of its table has its test."""

import re

import pytest

from tests.pages import blocks
from tests.pipeline import ROOT

FILE = ROOT / "docs" / "LIBRARY.md"
ROWS = [
    line.strip("|").split("|")
    for line in FILE.read_text().splitlines()
    if line.startswith("|") and "---" not in line and "over Kafka" not in line
]
TESTS = set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", FILE.read_text()))


def test_each_row_has_its_test() -> None:
    assert len(ROWS) > 15
    for of_the_library, _, test in ROWS:
        assert test.strip().strip("`") in TESTS, of_the_library


@pytest.mark.parametrize("test", sorted(TESTS))
def test_the_test_is_there(test: str) -> None:
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text()
    assert re.search(rf"^(async )?def {name or 'test_'}", text, re.MULTILINE) or (
        not name and "class Test" in text
    )


def test_what_it_shows_runs() -> None:
    for block in blocks(FILE):
        if block.language == "python":
            exec(compile(block.text, str(FILE), "exec"), {})
