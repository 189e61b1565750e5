"""Commands of the wiki, against the same wiki with `diff` and `patch` run as programs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from uuid import UUID

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.git_import import GitImporter, user_id_of
from eventsourcing_kafka.producer.importer.history import History
from tests.benchmarks import programs
from tests.benchmarks.figures import Line, Sample, faster
from tests.benchmarks.history import Author, Edit
from tests.benchmarks.servers import World, seconds_since
from tests.importer.repositories import Repository

EDITS = 400
COMMITS = 400
AGAINST = "diff and patch as programs"


def update_body(world: World) -> Iterator[Line]:
    """Edit pages, one command after the other."""
    edits = list(islice(Author().edits(), world.some(EDITS)))
    ours = Sample(_edited(world, edits) for _ in world.repeats)
    with programs.instead():
        theirs = Sample([_edited(world, edits)])
    yield faster("update_body", ours, AGAINST, theirs, 4.0, "commands/s")


def import_git(world: World) -> Iterator[Line]:
    """Import a repository's history; the other way is a command for each version of a file."""
    with tempfile.TemporaryDirectory() if not world.repository else nullcontext() as folder:
        path = world.repository or _repository(Path(str(folder)), world.some(COMMITS))
        commits = world.some(COMMITS)
        edits = list(_edits(History(path), commits))
        ours = Sample(_imported(world, path, commits, len(edits)) for _ in world.repeats)
    with programs.instead():
        theirs = Sample([_edited(world, edits)])
    yield faster("import of a git history", ours, AGAINST, theirs, 4.0, "commands/s")


def _edited(world: World, edits: list[Edit]) -> float:
    """Return commands per second; the creation of a page is left out of both count and time."""
    known: set[str] = set()
    took = 0.0
    with ContentManagement(world.empty_wiki()) as wiki:
        for edit in edits:
            if edit.slug not in known:
                known.add(edit.slug)
                wiki.create_page(edit.slug, edit.slug)
            begin = time.perf_counter()
            wiki.update_body(edit.slug, edit.body)
            took += seconds_since(begin)
    return len(edits) / took


def _imported(world: World, path: Path, commits: int, edits: int) -> float:
    with ContentManagement(world.empty_wiki()) as wiki:
        importer = GitImporter(wiki, History(path))
        begin = time.perf_counter()
        importer.run(commits)
        return edits / seconds_since(begin)


def _edits(history: History, commits: int) -> Iterator[Edit]:
    """Yield what the first commits of a history make of its texts."""
    for commit in history.commits()[:commits]:
        author = history.author(commit)
        user = user_id_of(author) if author else UUID(int=0)
        for change in history.changes(commit):
            if change.blob_id is not None and change.moved_from is None:
                try:
                    text = history.text(change.blob_id, 400_000)
                except ValueError:
                    continue
                yield Edit(change.path, text, user)


def _repository(folder: Path, commits: int) -> Path:
    """Make a repository whose commits change a page each."""
    repository = Repository(folder / "wiki.git")
    for edit in islice(Author().edits(), commits):
        repository.commit({f"{edit.slug}.md": edit.body})
    return repository.path
