"""The command `import-git`: what it prints, and how it fails."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.command import import_git
from eventsourcing_kafka.producer.runtime.errors import SettingsError

from .repositories import Repository, live

Run = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
    }


@pytest.fixture
def run(settings: dict[str, str]) -> Run:
    app = typer.Typer()
    app.command("import-git")(import_git)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)], env=settings)


def test_the_summary_says_what_was_imported_and_what_was_left_out(
    run: Run, repository: Repository, settings: dict[str, str]
) -> None:
    repository.commit({"a.md": "one\n", "image\x1b[31m": b"\0"})
    tip = repository.commit({"a.md": "two\n"})
    result = run(repository.path)
    assert result.exit_code == 0
    assert "imported 2 commits" in result.stdout
    assert tip[:12] in result.stdout
    assert "binary" in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert "imported 2 of 2 commits" in result.stderr
    with ContentManagement(settings) as app:
        assert live(app) == {"a.md": "two\n"}


def test_the_summary_is_json_when_asked_for(run: Run, repository: Repository) -> None:
    repository.commit({"a.md": "one\n", "image.png": b"\0", "b.md": "one\n"})
    tip = repository.commit({"a.md": "two\n"})
    result = run(repository.path, "--json", "--limit", 1, "--include", "a.md", "--include", "*.png")
    summary = json.loads(result.stdout)
    assert summary.pop("seconds") >= 0
    assert summary == {
        "tip": tip,
        "commits": 1,
        "commits_left": 1,
        "events": 4,
        "skipped": {"binary": ["image.png"]},
        "malformed": {},
    }
    assert "1 commits left" not in run(repository.path, "--include", "a.md").stdout


def test_a_branch_a_tag_or_a_commit_can_be_imported(run: Run, repository: Repository) -> None:
    first = repository.commit({"a": "one\n"})
    repository.git.references.create("refs/tags/v1", first)
    repository.commit({"a": "two\n"}, branch="other")
    for ref, commits in [("v1", 1), (first, 0), ("other", 1), ("refs/heads/other", 0)]:
        result = run(repository.path, "--ref", ref, "--json")
        assert json.loads(result.stdout)["commits"] == commits


def test_a_memory_that_ends_with_the_command_is_refused(
    run: Run, repository: Repository, settings: dict[str, str]
) -> None:
    repository.commit({"a": "one\n"})
    settings["PERSISTENCE_MODULE"] = ""
    result = run(repository.path)
    assert result.exit_code == 1
    assert isinstance(result.exception, SettingsError)
    assert "PERSISTENCE_MODULE" in str(result.exception)
    assert "compose env" in str(result.exception)


def test_a_folder_that_is_no_repository_is_refused(run: Run, tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "is not a git repository" in result.stderr
    assert run(tmp_path / "nowhere").exit_code == 1


def test_an_empty_repository_is_refused(run: Run, repository: Repository) -> None:
    result = run(repository.path)
    assert result.exit_code == 1
    assert "no commits yet" in result.stderr


def test_an_unknown_ref_is_refused_with_those_there_are(run: Run, repository: Repository) -> None:
    first = repository.commit({"a": "one\n"})
    repository.git.references.create("refs/tags/v1", first)
    result = run(repository.path, "--ref", "nonsense")
    assert result.exit_code == 1
    assert "'nonsense' names no commit; there is main, v1" in result.stderr


def test_a_head_without_its_branch_is_refused_with_those_there_are(
    run: Run, repository: Repository
) -> None:
    repository.commit({"a": "one\n"}, branch="other")
    result = run(repository.path)
    assert result.exit_code == 1
    assert "'HEAD' names no commit; there is other" in result.stderr


def test_a_shallow_clone_is_refused(run: Run, repository: Repository, tmp_path: Path) -> None:
    repository.commit({"a": "one\n"})
    repository.commit({"a": "two\n"})
    shallow = tmp_path / "shallow"
    source = repository.path.as_uri()
    subprocess.run(["git", "clone", "-q", "--depth=1", source, shallow], check=True)
    result = run(shallow)
    assert result.exit_code == 1
    assert "shallow clone" in result.stderr


def test_a_clone_with_a_work_tree_is_imported(
    run: Run, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a": "one\n"})
    subprocess.run(["git", "clone", "-q", repository.path, tmp_path / "clone"], check=True)
    result = run(tmp_path / "clone", "--json")
    assert json.loads(result.stdout)["commits"] == 1


def test_a_file_missing_from_the_repository_is_an_error_and_the_import_goes_on_later(
    run: Run, repository: Repository
) -> None:
    repository.commit({"a": "one\n"})
    commit = repository.commit({"a": "two\n"})
    blob_id = str(repository.files(commit)["a"][0])
    stored = repository.path / "objects" / blob_id[:2] / blob_id[2:]
    elsewhere = stored.rename(repository.path / "away")
    result = run(repository.path)
    assert result.exit_code == 1
    assert "missing" in result.stderr
    elsewhere.rename(stored)
    assert json.loads(run(repository.path, "--json").stdout)["commits"] == 2
