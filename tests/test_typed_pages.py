"""The tutorial is true: whoever types it, from the top to the bottom, gets what it says."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Desk, blocks
from tests.pipeline import ROOT

PAGE = blocks(ROOT / "docs" / "TUTORIAL.md")
OURS = ("KAFKA_", "POSTGRES_", "PERSISTENCE_", "APPLICATION_", "SHOP_", "ORDERS_", "SALES_")


@pytest.fixture
def folder(programs: None) -> Iterator[Path]:
    """An empty folder, where Postgres' own user may look."""
    with tempfile.TemporaryDirectory(prefix="tutorial-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_every_block_is_one_that_is_run_or_shown() -> None:
    assert {block.language for block in PAGE} == {"python", "toml", "sh", "text"}
    assert [block.text for block in PAGE if block.language == "toml" and not block.file] == []


@pytest.mark.timeout(300)  # servers, and a dozen of commands, each of which starts Python
def test_it_can_be_typed_from_the_top_to_the_bottom(folder: Path, tmp_path: Path) -> None:
    mine = {name: it for name, it in os.environ.items() if not name.startswith(OURS)}

    with Desk(folder, mine | {"XDG_STATE_HOME": str(tmp_path / "state")}) as desk:
        said = desk.work(PAGE)

    (audit,) = (text for block, text in said.items() if "compose audit" in block.text)
    assert "unaltered" in audit
