"""An import that is stopped, by anything at any time, goes on where it stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.git_import import (
    GitImporter,
    ImportConflictError,
    ImportRefusedError,
)
from eventsourcing_kafka.producer.importer.history import History
from tests.layers import SERVERS, on

from .repositories import Repository, bodies, live, story

IN_MEMORY = {"PERSISTENCE_MODULE": "eventsourcing.popo"}


@pytest.fixture
def busy(repository: Repository) -> Repository:
    """Sixty commits of all kinds, on two branches that meet."""
    repository.commit({f"file-{number}": f"{number}\n" * 20 for number in range(8)})
    for number in range(25):
        path, other = f"file-{number % 8}", f"file-{(number + 3) % 8}"
        main = repository.commits[-1]
        repository.commit({path: f"{number}\n" * 20}, email=f"{number % 3}@example.org")
        branch = repository.commit({other: None, f"new-{number}": "new\n"}, parents=[main])
        repository.commit({}, parents=[repository.commits[-2], branch])
    return repository


@pytest.fixture
def uninterrupted(busy: Repository) -> Iterator[ContentManagement]:
    with ContentManagement(IN_MEMORY) as app:
        GitImporter(app, History(busy.path)).run()
        yield app


class LostError(Exception):
    """The connection to the database was lost."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_at_any_save_neither_loses_nor_doubles_an_edit(
    app: ContentManagement,
    busy: Repository,
    uninterrupted: ContentManagement,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    insert = app.recorder.insert_events
    calls = fail_at = 0

    def fail_sometimes(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == fail_at:
            raise LostError
        result = insert(*args, **kwargs)
        if calls == fail_at:
            raise LostError
        return result

    monkeypatch.setattr(app.recorder, "insert_events", fail_sometimes)
    failures = 0
    while True:
        calls, fail_at = 0, failures % 3 + 1
        try:
            GitImporter(app, History(busy.path), commits_per_save=7, events_per_save=10).run()
            break
        except LostError:
            failures += 1
    assert failures > 5
    assert story(app) == story(uninterrupted)


CHILD = """
import os, signal, sys
from functools import partial
import typer
from eventsourcing.persistence import EventStore
from eventsourcing_kafka.producer.importer import git_import
from eventsourcing_kafka.producer.importer.command import import_git

git_import.GitImporter = partial(git_import.GitImporter, commits_per_save=7)
calls, (kill_at, when) = 0, (int(sys.argv.pop()), sys.argv.pop())
put = EventStore.put

def put_or_die(self, events, **kwargs):
    global calls
    calls += 1
    if calls == kill_at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    recordings = put(self, events, **kwargs)
    if calls == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return recordings

EventStore.put = put_or_die
typer.run(import_git)
"""


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("module", ["sqlite", on("postgres", needs=SERVERS)])
def test_a_killed_import_goes_on_where_it_stopped(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    busy: Repository,
    uninterrupted: ContentManagement,
    module: str,
) -> None:
    settings: dict[str, str]
    if module == "postgres":
        settings = request.getfixturevalue("environment")
    else:
        settings = {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(tmp_path / "wiki.sqlite"),
        }

    def run_child(when: str, kill_at: int) -> int:
        command = [sys.executable, "-c", CHILD, str(busy.path), when, str(kill_at)]
        return subprocess.run(
            command, env=dict(os.environ) | settings, check=False, capture_output=True
        ).returncode

    kills = [("before", 1), ("after", 1), ("after", 2), ("before", 5)]
    assert [run_child(*kill) for kill in kills] == [-signal.SIGKILL] * len(kills)
    assert run_child("never", 0) == 0
    with ContentManagement(settings) as app:
        assert story(app) == story(uninterrupted)


def test_an_import_in_parts_is_the_same_as_one_at_once(
    app: ContentManagement, busy: Repository, uninterrupted: ContentManagement
) -> None:
    while GitImporter(app, History(busy.path)).run(limit=9).commits:
        pass
    assert story(app) == story(uninterrupted)


def test_a_commit_larger_than_a_save_is_saved_in_parts(
    repository: Repository, app: ContentManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({f"file-{number:02}": "text\n" for number in range(20)})
    sizes = []
    insert = app.recorder.insert_events

    def watch(stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        sizes.append(len(stored_events))
        return insert(stored_events, **kwargs)

    monkeypatch.setattr(app.recorder, "insert_events", watch)
    GitImporter(app, History(repository.path), events_per_save=10).run()
    assert max(sizes) < 15
    assert len(bodies(app)) == 20


def test_only_what_is_new_is_imported(app: ContentManagement, repository: Repository) -> None:
    repository.commit({"a": "one\n"})
    assert GitImporter(app, History(repository.path)).run().commits == 1
    head = app.recorder.max_notification_id()
    assert GitImporter(app, History(repository.path)).run().commits == 0
    assert app.recorder.max_notification_id() == head
    repository.commit({"a": "two\n"})
    assert GitImporter(app, History(repository.path)).run().commits == 1
    assert live(app) == {"a": "two\n"}


def test_older_commits_that_a_merge_brings_in_later_are_not_missed(
    app: ContentManagement, repository: Repository
) -> None:
    base = repository.commit({"a": "a\n"}, minute=0)
    repository.commit({"b": "b\n"}, minute=20)
    main = repository.commit({"b": "c\n"}, minute=30)
    assert GitImporter(app, History(repository.path)).run(limit=2).commits == 2
    side = repository.commit({"side": "older\n"}, parents=[base], minute=10)
    repository.commit({"side": "older\n"}, parents=[main, side], minute=40)
    assert GitImporter(app, History(repository.path)).run().commits == 3
    assert live(app) == {"a": "a\n", "b": "c\n", "side": "older\n"}


def test_a_rewritten_history_is_refused(app: ContentManagement, repository: Repository) -> None:
    base = repository.commit({"a": "one\n"})
    repository.commit({"a": "two\n"})
    GitImporter(app, History(repository.path)).run()
    repository.commit({"a": "rewritten\n"}, parents=[base])
    with pytest.raises(ImportRefusedError, match="the history was rewritten"):
        GitImporter(app, History(repository.path))
    assert live(app) == {"a": "two\n"}


def test_other_globs_for_the_same_history_are_refused(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a.md": "one\n"})
    GitImporter(app, History(repository.path), ["*.md"]).run()
    with pytest.raises(ImportRefusedError, match="--include"):
        GitImporter(app, History(repository.path), ["*.rst"])


def test_of_two_imports_at_once_one_is_stopped(
    app: ContentManagement, busy: Repository, uninterrupted: ContentManagement
) -> None:
    first = GitImporter(app, History(busy.path))
    second = GitImporter(app, History(busy.path))
    first.run(limit=30)
    with pytest.raises(ImportConflictError, match="run the import again"):
        second.run()
    GitImporter(app, History(busy.path)).run()
    assert story(app) == story(uninterrupted)


def test_an_edit_in_the_wiki_is_followed_by_the_next_commit(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a": "one\n"})
    GitImporter(app, History(repository.path)).run()
    app.update_body("a", "edited by hand\n")
    repository.commit({"a": "two\n"})
    GitImporter(app, History(repository.path)).run()
    assert live(app) == {"a": "two\n"}
