"""The pages become a site, and not one link of theirs leads nowhere."""

import os
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.pipeline import ROOT

CONTENTS = "\n```{toctree}\nCOMMANDS\n```\n"
"""The commands are described by themselves."""

pytestmark = pytest.mark.usefixtures("programs")


def make_docs(folder: Path) -> subprocess.CompletedProcess[str]:
    """Have make do it in a folder, as in the checkout."""
    command = ["make", "--assume-old=.venv/installed", "--directory", str(folder), "docs"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a page of its own, and what makes ours a site."""
    (tmp_path / "docs").mkdir()
    for name in ("Makefile", "pyproject.toml", "docs/conf.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs" / "static").symlink_to(ROOT / "docs" / "static")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


@pytest.mark.parametrize(
    ("link", "missing"),
    [("#here", None), ("#there", "there"), ("OTHER.md", "OTHER.md"), ("../pyproject.toml", None)],
    ids=["a heading", "no heading", "no page", "a file"],
)
def test_a_link_that_leads_nowhere_is_an_error(
    project: Path, link: str, missing: str | None
) -> None:
    (project / "docs" / "index.md").write_text(f"# Here\n\n[a link]({link})\n{CONTENTS}")

    made = make_docs(project)

    assert made.returncode == (2 if missing else 0), made.stderr
    assert missing is None or missing in made.stderr
    assert missing or (project / "build" / "docs" / "index.html").is_file()


def test_a_page_that_no_list_of_contents_has_is_an_error(project: Path) -> None:
    (project / "docs" / "index.md").write_text(f"# Here\n{CONTENTS}")
    (project / "docs" / "OTHER.md").write_text("# There\n")

    assert "OTHER.md: WARNING: document isn't included in any toctree" in make_docs(project).stderr


def test_what_is_typed_stays_as_it_is(project: Path) -> None:
    (project / "docs" / "index.md").write_text(f"# Here\n\n--with 'a file'\n{CONTENTS}")

    assert make_docs(project).returncode == 0
    assert "--with 'a file'" in unescape((project / "build" / "docs" / "index.html").read_text())


def test_a_page_that_is_gone_is_missed_by_those_that_were_made_before(project: Path) -> None:
    contents = CONTENTS.replace("COMMANDS\n", "COMMANDS\nOTHER\nTHIRD\n")
    (project / "docs" / "index.md").write_text(f"# Here\n{contents}")
    (project / "docs" / "OTHER.md").write_text("# There\n\n[on](THIRD.md#third)\n")
    (project / "docs" / "THIRD.md").write_text("# Third\n")
    assert make_docs(project).returncode == 0

    (project / "docs" / "THIRD.md").write_text("# Fourth\n")

    assert "local id not found" in make_docs(project).stderr
