"""What happened in a git repository: commits, and the files that each of them changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

import pygit2
from pygit2.enums import DeltaStatus, DiffFind, FileMode, SortMode

MOST_RENAMES = 200
"""How many files a file is compared with; the time for a commit grows with its square."""

NAMES_SHOWN = 20
"""How many branches and tags are listed when another one was asked for."""


class HistoryError(Exception):
    """The history can't be read; the message says why, and what would help."""


class UnfitFileError(ValueError):
    """This version of a file is not a text that a page can hold."""


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
    """The commits that lead to one commit, its tip, in a repository on this machine."""

    def __init__(self, path: Path, ref: str = "HEAD") -> None:
        """Open the repository at `path` and find the commit that `ref` names.

        Raises `HistoryError`.
        """
        self._repository = _open(path)
        self._tip = _resolve(self._repository, ref)

    @property
    def tip(self) -> str:
        """The ID of the last commit."""
        return str(self._tip.id)

    @property
    def root(self) -> str:
        """The ID of the first commit of the main line, which stays when history grows."""
        commit = self._tip
        while commit.parent_ids:
            commit = self._commit(commit.parent_ids[0])
        return str(commit.id)

    def commits(self, tip: str | None = None) -> list[str]:
        """List the commits up to the tip, or up to another one: parents first, then by time.

        Raises `HistoryError` when there is no such commit.
        """
        try:
            start = self._repository[tip].id if tip else self._tip.id
            order = SortMode.TOPOLOGICAL | SortMode.TIME | SortMode.REVERSE
            return [str(commit.id) for commit in self._repository.walk(start, order)]
        except (KeyError, pygit2.GitError) as error:
            raise HistoryError(f"the history is incomplete: {error}") from error

    def author(self, commit_id: str) -> UUID:
        """Return a user ID for the commit's author: the same for the same e-mail address."""
        email = self._commit(commit_id).author.raw_email.decode(errors="replace")
        return uuid5(NAMESPACE_URL, f"mailto:{email.strip().lower()}")

    def author_name(self, commit_id: str) -> str:
        """Return what the commit's author is called in it."""
        return self._commit(commit_id).author.raw_name.decode(errors="replace")

    def changes(self, commit_id: str) -> Iterator[FileChange]:
        """Yield every path in which a commit differs from any of its parents.

        Files that moved come first: what was at their old paths is gone in this commit.
        """
        commit = self._commit(commit_id)
        changes: dict[str, FileChange] = {}
        try:
            for diff in self._diffs(commit):
                for delta in diff.deltas:
                    for change in _read(delta):
                        _keep(changes, change)
        except (KeyError, pygit2.GitError) as error:
            raise HistoryError(f"commit {commit_id} is incomplete: {error}") from error
        yield from sorted(changes.values(), key=lambda change: change.moved_from is None)

    def text(self, blob_id: pygit2.Oid, most_bytes: int) -> str:
        """Read a file's text.

        Raises `UnfitFileError` if it is binary, not UTF-8, or has more than `most_bytes`.
        """
        try:
            _, size = self._repository.odb.read_header(blob_id)
            if size > most_bytes:
                raise UnfitFileError("over-long")
            data = self._repository[blob_id].read_raw()
        except (KeyError, pygit2.GitError) as error:
            raise HistoryError(f"a file is missing (a partial clone?): {error}") from error
        if b"\0" in data:
            raise UnfitFileError("binary")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise UnfitFileError("not UTF-8") from None

    def _commit(self, commit_id: str | pygit2.Oid) -> pygit2.Commit:
        try:
            return self._repository[commit_id].peel(pygit2.Commit)
        except (KeyError, pygit2.GitError) as error:
            raise HistoryError(f"commit {commit_id} is missing: {error}") from error

    def _diffs(self, commit: pygit2.Commit) -> Iterator[pygit2.Diff]:
        if not commit.parent_ids:
            yield commit.tree.diff_to_tree(swap=True)
        for parent_id in commit.parent_ids:
            diff = self._commit(parent_id).tree.diff_to_tree(commit.tree)
            diff.find_similar(DiffFind.FIND_RENAMES, rename_limit=MOST_RENAMES)
            yield diff


def _open(path: Path) -> pygit2.Repository:
    try:
        repository = pygit2.Repository(str(path))
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise HistoryError(f"{path} is not a git repository: {error}") from error
    if repository.is_shallow:
        raise HistoryError(f"{path} is a shallow clone: `git fetch --unshallow` completes it")
    return repository


def _resolve(repository: pygit2.Repository, ref: str) -> pygit2.Commit:
    """Find the commit that a branch, a tag or any other revision names."""
    try:
        return repository.revparse_single(ref).peel(pygit2.Commit)
    except (pygit2.GitError, KeyError, ValueError) as error:
        names = sorted(
            name.removeprefix("refs/").removeprefix("heads/").removeprefix("tags/")
            for name in repository.references
        )
        if not names:
            raise HistoryError(f"{repository.path} is empty: it has no commits yet") from error
        there_is = ", ".join(names[:NAMES_SHOWN]) + (", …" if names[NAMES_SHOWN:] else "")
        raise HistoryError(f"{ref!r} names no commit; there is {there_is}") from error


def _read(delta: pygit2.DiffDelta) -> Iterator[FileChange]:
    # A path is bytes to git; one that is not UTF-8 becomes surrogates, which no slug may have.
    old, new = (
        file.raw_path.decode(errors="surrogateescape") for file in (delta.old_file, delta.new_file)
    )
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


def _keep(changes: dict[str, FileChange], change: FileChange) -> None:
    """Add a change, unless the same path is known to hold something, or to have moved.

    One path comes twice when a file gave way to a link, and from several parents.
    """
    known = changes.get(change.path)
    gone = change.blob_id is None and change.obstacle is None
    if known is None or (known.moved_from is None and not gone):
        changes[change.path] = change
