"""What happened in a git repository: commits, and the files that each of them changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, FileMode, ObjectType

from eventsourcing_kafka.producer.importer.commits import (
    Author,
    Commit,
    in_order,
    read_author,
    read_commit,
)
from eventsourcing_kafka.producer.importer.mailmap import Mailmap
from eventsourcing_kafka.producer.importer.repository import (
    HistoryError,
    Step,
    commit_named,
    grafts,
    mailmaps,
    opened,
    replacements,
)

__all__ = ["FileChange", "History", "HistoryError", "UnfitFileError", "UnreadableCommitError"]

ASCII = range(0x80)

MOST_RENAMES = 200
"""How many files a file is compared with; the time for a commit grows with its square."""


class UnfitFileError(ValueError):
    """This version of a file is not a text that a page can hold."""


class UnreadableCommitError(ValueError):
    """What a commit changed can't be told, since its files can't be listed."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file as a commit left it: at `path`, where it may have come from another path."""

    path: str
    blob_id: pygit2.Oid | None
    """What the file holds; none when it was deleted, or is a link or a submodule now."""
    moved_from: str | None = None
    obstacle: str | None = None
    """Why there is something at the path that is not a file."""


class History:
    """The commits that lead to one commit, its tip, in a repository on this machine.

    They are as git shows them: with what replaces them, with the parents that grafts give them,
    and with the names of authors that the repository's `.mailmap` tells.
    """

    def __init__(self, path: Path, ref: str = "HEAD") -> None:
        """Open the repository at `path` and find the commit that `ref` names.

        Raises `HistoryError`.
        """
        self._repository = opened(path)
        self._replaced = replacements(self._repository)
        self._grafts = grafts(self._repository)
        self._commits: dict[str, Commit] = {}
        self._mailmap = Mailmap(*mailmaps(self._repository))
        self.tip = self._reached(*commit_named(self._repository, ref), ref)
        """The ID of the last commit."""

    @property
    def root(self) -> str:
        """The ID of the first commit of the main line."""
        commit_id = self.tip
        while parents := self._commit(commit_id).parents:
            commit_id = parents[0]
        return commit_id

    def _reached(self, commit_id: str, steps: Sequence[Step], ref: str) -> str:
        for step in steps:
            parents = self._commit(commit_id).parents
            if step > len(parents):
                raise HistoryError(f"{ref!r} names no commit: {commit_id} is its last one")
            commit_id = parents[step - 1] if step else commit_id
        return commit_id

    def commits(self, tip: str | None = None) -> list[str]:
        """List the commits up to the tip, or up to another one: parents first, then by time.

        Raises `HistoryError` when there is no such commit.
        """
        start = tip or self.tip
        leading: dict[str, Commit] = {}
        to_read = [start]
        while to_read:
            commit_id = to_read.pop()
            if commit_id not in leading:
                leading[commit_id] = self._commit(commit_id)
                to_read += leading[commit_id].parents
        return in_order(leading, start)

    def author(self, commit_id: str) -> Author | None:
        """Return the commit's author; None if it does not name one by an e-mail address."""
        author = read_author(self._read(commit_id))
        if author is None:
            return None
        name, email = self._mailmap.resolve(author.name, author.email)
        return author._replace(name=name, email=email)

    def changes(self, commit_id: str) -> Iterator[FileChange]:
        """Yield every path in which a commit differs from any of its parents.

        Files that moved come first: what was at their old paths is gone in this commit.
        Raises `HistoryError`, and `UnreadableCommitError`.
        """
        changes: dict[str, FileChange] = {}
        try:
            for diff in self._diffs(commit_id):
                for delta in diff.deltas:
                    for change in _read(delta):
                        _keep(changes, change)
        except UnreadableCommitError:
            raise
        except KeyError as error:
            raise HistoryError(f"commit {commit_id} is incomplete: {error}") from error
        except (ValueError, pygit2.GitError) as error:
            raise UnreadableCommitError(f"its files can't be listed: {error}") from error
        yield from sorted(changes.values(), key=lambda change: change.moved_from is None)

    def text(self, blob_id: pygit2.Oid, most_bytes: int) -> str:
        """Read a file's text.

        Raises `UnfitFileError` if it is binary, not UTF-8, or has more than `most_bytes`.
        """
        try:
            shown = self._replaced.get(str(blob_id), blob_id)
            _, size = self._repository.odb.read_header(shown)
            if size > most_bytes:
                raise UnfitFileError("over-long")
            data = self._repository[shown].read_raw()
        except (KeyError, pygit2.GitError) as error:
            raise HistoryError(
                f"a file is missing: {error}. Of a clone that is partial, "
                "`git clone --mirror` without --filter makes a whole one"
            ) from error
        if b"\0" in data:
            raise UnfitFileError("binary")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise UnfitFileError("not UTF-8") from None

    def _read(self, commit_id: str) -> bytes:
        try:
            kind, raw = self._repository.odb.read(self._replaced.get(commit_id, commit_id))
        except (KeyError, ValueError, pygit2.GitError) as error:
            why = "" if isinstance(error, KeyError) else f": {error}"
            raise HistoryError(
                f"the history is incomplete: commit {commit_id} is missing{why}"
            ) from error
        if kind != ObjectType.COMMIT:
            raise HistoryError(f"{commit_id} is not a commit, but {kind.name.lower()}")
        return raw

    def _commit(self, commit_id: str) -> Commit:
        if commit_id not in self._commits:
            commit = read_commit(self._read(commit_id))
            parents = self._grafts.get(commit_id, commit.parents)
            self._commits[commit_id] = commit._replace(parents=parents)
        return self._commits[commit_id]

    def _diffs(self, commit_id: str) -> Iterator[pygit2.Diff]:
        tree = self._tree(commit_id)
        if tree is None or self._commit(commit_id).tree is None:
            raise UnreadableCommitError("it does not say which files it has")
        parents = [self._tree(parent_id) for parent_id in self._commit(commit_id).parents]
        for parent in parents or [None]:
            if parent is None:
                yield tree.diff_to_tree(swap=True)
            else:
                diff = parent.diff_to_tree(tree)
                diff.find_similar(DiffFind.FIND_RENAMES, rename_limit=MOST_RENAMES)
                yield diff

    def _tree(self, commit_id: str) -> pygit2.Tree | None:
        """Return the files of a commit, or of the one before it, if it does not say."""
        commit = self._commit(commit_id)
        while commit.tree is None and commit.parents:
            commit = self._commit(commit.parents[0])
        if commit.tree is None:
            return None
        return self._repository[self._replaced.get(commit.tree, commit.tree)].peel(pygit2.Tree)


def _read(delta: pygit2.DiffDelta) -> Iterator[FileChange]:
    old, new = (_path_of(file.raw_path) for file in (delta.old_file, delta.new_file))
    moved = delta.status == DeltaStatus.RENAMED
    if moved or delta.status == DeltaStatus.DELETED:
        yield FileChange(old, None)
    if delta.status != DeltaStatus.DELETED:
        obstacle = {
            FileMode.LINK: "symbolic link",
            FileMode.COMMIT: "submodule",
        }.get(delta.new_file.mode)
        blob_id = None if obstacle else delta.new_file.id
        yield FileChange(new, blob_id, moved_from=old if moved else None, obstacle=obstacle)


def _path_of(raw: bytes) -> str:
    r"""Return a path, which is bytes to git; as git writes it where it is not UTF-8.

    >>> _path_of("café.md".encode("latin-1"))
    'caf\\351.md'
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte in ASCII else f"\\{byte:o}" for byte in raw)


def _keep(changes: dict[str, FileChange], change: FileChange) -> None:
    """Add a change, unless the same path is known to hold something, or to have moved.

    One path comes twice when a file gave way to a link, and from several parents.
    """
    known = changes.get(change.path)
    gone = change.blob_id is None and change.obstacle is None
    if known is None or (known.moved_from is None and not gone):
        changes[change.path] = change
