"""Builds git histories of any shape, and reads wikis back to compare."""

from pathlib import Path

import pygit2
from eventsourcing.utils import get_topic
from pygit2.enums import FileMode

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.record import GitImport

Content = str | bytes | tuple[bytes, FileMode] | None
"""What a commit puts at a path: a file, or something else of another mode, or nothing."""


class Repository:
    """A bare repository whose commits are given as the paths they change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git = pygit2.init_repository(str(path), bare=True, initial_head="main")
        self.commits: list[str] = []

    def commit(
        self,
        changes: dict[str, Content],
        *,
        parents: list[str] | None = None,
        email: str = "ann@example.org",
        name: str = "Author",
        minute: int | None = None,
        branch: str = "main",
    ) -> str:
        """Commit changes to the first parent's files; by default, to the last commit's."""
        if parents is None:
            parents = self.commits[-1:]
        minute = len(self.commits) if minute is None else minute
        author = pygit2.Signature(name, email, 1_700_000_000 + 60 * minute, 0)
        files = self.files(parents[0]) if parents else {}
        for path, content in changes.items():
            files = {p: f for p, f in files.items() if p != path and not p.startswith(path + "/")}
            if content is not None:
                files[path] = self._entry(content)
        tree = self._tree(files)
        ref = f"refs/heads/{branch}"
        commit = self.git.create_commit(None, author, author, f"at {minute}", tree, parents)
        self.git.create_reference(ref, commit, force=True)
        self.commits.append(str(commit))
        return str(commit)

    def files(self, commit: str) -> dict[str, tuple[pygit2.Oid, FileMode]]:
        """List what is at each path."""

        def within(tree: pygit2.Tree, prefix: str) -> dict[str, tuple[pygit2.Oid, FileMode]]:
            found: dict[str, tuple[pygit2.Oid, FileMode]] = {}
            for entry in tree:
                if isinstance(entry, pygit2.Tree):
                    found |= within(entry, f"{prefix}{entry.name}/")
                else:
                    found[f"{prefix}{entry.name}"] = (entry.id, FileMode(entry.filemode))
            return found

        return within(self.git[commit].peel(pygit2.Tree), "")

    def texts(self, commit: str) -> dict[str, str]:
        """Read the files at a commit."""
        return {
            path: self.git[blob_id].read_raw().decode()
            for path, (blob_id, mode) in self.files(commit).items()
            if mode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
        }

    def _entry(self, content: str | bytes | tuple[bytes, FileMode]) -> tuple[pygit2.Oid, FileMode]:
        if isinstance(content, str):
            content = content.encode()
        data, mode = content if isinstance(content, tuple) else (content, FileMode.BLOB)
        if mode == FileMode.COMMIT:
            return pygit2.Oid(raw=data), mode
        return self.git.create_blob(data), mode

    def _tree(self, files: dict[str, tuple[pygit2.Oid, FileMode]]) -> pygit2.Oid:
        builder = self.git.TreeBuilder()
        folders: dict[str, dict[str, tuple[pygit2.Oid, FileMode]]] = {}
        for path, (blob_id, mode) in files.items():
            folder, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(folder, {})[rest] = (blob_id, mode)
            else:
                builder.insert(path, blob_id, mode)
        for folder, inside in folders.items():
            builder.insert(folder, self._tree(inside), FileMode.TREE)
        return builder.write()


def bodies(app: ContentManagement) -> dict[str, str]:
    """Read every page, by slug."""
    pages = list(app.get_pages())
    assert len({page["slug"] for page in pages}) == len(pages)
    return {page["slug"]: page["body"] for page in pages}


def live(app: ContentManagement) -> dict[str, str]:
    """Read every page that isn't empty, by slug."""
    return {slug: body for slug, body in bodies(app).items() if body}


def story(app: ContentManagement) -> list[dict[str, object]]:
    """Tell what happened to the wiki, in order, whatever the random IDs and the times."""
    names: dict[object, int] = {}
    events = []
    for notification in app.recorder.select_notifications(1, 1_000_000):
        event = app.mapper.to_domain_event(notification)
        if not isinstance(event, GitImport.Event):
            told = {"type": get_topic(type(event)), **vars(event)}
            del told["timestamp"]
            for key in ("originator_id", "page_id"):
                if told.get(key) is not None:
                    told[key] = names.setdefault(told[key], len(names))
            events.append(told)
    return events
