"""The pages to learn from are true: whoever types them, from the top to the bottom, gets that."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Block, Desk, blocks
from tests.pipeline import ROOT

DOCS = ROOT / "docs"
TUTORIAL = blocks(DOCS / "TUTORIAL.md")
SHOP = [block for block in TUTORIAL if block.file]
OURS = ("KAFKA_", "POSTGRES_", "PERSISTENCE_", "APPLICATION_", "SHOP_", "ORDERS_", "SALES_")


@pytest.fixture
def desk(programs: None, tmp_path: Path) -> Iterator[Desk]:
    """A desk in an empty folder, where Postgres' own user may look, and with no settings."""
    mine = {name: it for name, it in os.environ.items() if not name.startswith(OURS)}
    with tempfile.TemporaryDirectory(prefix="desk-") as folder:
        Path(folder).chmod(0o755)
        with Desk(Path(folder), mine | {"XDG_STATE_HOME": str(tmp_path / "state")}) as desk:
            yield desk


@pytest.mark.parametrize("page", ["TUTORIAL", "FOLLOWERS", "TESTING"])
def test_all_of_a_page_is_a_file_or_is_typed_or_shown(page: str) -> None:
    found = blocks(DOCS / f"{page}.md")

    assert {block.language for block in found} == {"python", "toml", "sh", "text"} - (
        {"toml"} if page == "TESTING" else set()
    )
    assert [
        block for block in found if block.language in {"python", "toml"} and not block.file
    ] == []


@pytest.mark.timeout(300)  # servers, and a dozen of commands, each of which starts Python
def test_the_tutorial(desk: Desk) -> None:
    said = desk.work(TUTORIAL)

    (audit,) = (text for block, text in said.items() if "compose audit" in block.text)
    assert "unaltered" in audit


@pytest.mark.parametrize("page", ["FOLLOWERS", "TESTING"])
def test_what_goes_on_from_the_tutorial(desk: Desk, page: str) -> None:
    desk.work([*SHOP, *blocks(DOCS / f"{page}.md")])


def test_what_a_page_shows_and_nothing_has_printed_is_found(desk: Desk) -> None:
    shown = [Block("", "sh", "echo one; echo two\n"), Block("", "text", "two\nthree\n")]

    with pytest.raises(AssertionError, match=r"\['three'\]"):
        desk.work(shown)


def test_a_command_that_fails_is_found(desk: Desk) -> None:
    with pytest.raises(AssertionError, match="nowhere"):
        desk.do(Block("", "sh", "ls ./nowhere\n"))
