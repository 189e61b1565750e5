"""The pages that claim something are true: each row of their tables has its test."""

import re
from pathlib import Path

import pytest

from tests.pages import blocks
from tests.pipeline import ROOT

LIBRARY, GUARANTEES = (ROOT / "docs" / name for name in ("LIBRARY.md", "GUARANTEES.md"))
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows(page: Path) -> list[str]:
    """Return the rows of a page's tables, without their heads."""
    lines = page.read_text().splitlines()
    heads = {i + step for i, line in enumerate(lines) if line.startswith("|--") for step in (-1, 0)}
    return [line for i, line in enumerate(lines) if line.startswith("|") and i not in heads]


CLAIMS = [row for page in (LIBRARY, GUARANTEES) for row in rows(page)]


def test_both_pages_claim_much() -> None:
    assert len(rows(LIBRARY)) > 15
    assert len(rows(GUARANTEES)) > 40


@pytest.mark.parametrize("claim", CLAIMS)
def test_it_has_a_test_that_is_there(claim: str) -> None:
    ((path, name),) = TEST.findall(claim.rstrip("| ").rpartition("|")[2])
    text = (ROOT / path).read_text()

    assert re.search(rf"^ *(async )?def {name or 'test_'}", text, re.MULTILINE) or (
        not name and "class Test" in text
    )


def test_what_the_page_of_the_library_shows_runs() -> None:
    for block in blocks(LIBRARY):
        if block.language == "python":
            exec(compile(block.text, str(LIBRARY), "exec"), {})
