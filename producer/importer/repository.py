"""A git repository on this machine: opened, or what stands in the way of that."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pygit2

from eventsourcing_kafka.producer.importer.commits import read_commit

NAMES_SHOWN = 20
"""How many branches and tags are listed when another one was asked for."""

Step = int
"""Which parent comes next; 0 stays where it is."""

STEPS = re.compile(r"(?P<base>.+?)(?P<steps>([~^][0-9]*)+)")

ELSEWHERE = re.compile(r"[a-z+]+:/|[^/]+@[^/]+:")
"""How an address begins where others clone from."""

MOST_STEPS = 5
"""From a tag to what it names, or from what was replaced to what it is replaced by; as in git."""

REPLACED = "refs/replace/"

COPY = (
    "`git clone --mirror {path} COPY`, with a git that reads it, makes one that can be: import that"
)

MEND_GRAFTS = (
    "`git -C {path} replace --convert-graft-file` puts what can be in its place; if it refuses a "
    "line, remove that from info/grafts"
)

HELP = {
    "not owned by": "it belongs to another user: if you trust what is in it, "
    "`git config --global --add safe.directory {path}` lets you read it",
    "unknown object format": "its objects have names that can't be read here, such as SHA-256: "
    "`git init COPY`, and `git -C {path} fast-export --all --signed-tags=strip | "
    "git -C COPY fast-import`, makes one that can be: import that",
    "extensions.refstorage": f"its branches are kept in a format that can't be read here: {COPY}",
    "unsupported extension": f"it is kept in a way that can't be read here: {COPY}",
    "invalid graft": f"its file of grafts can't be read here: {MEND_GRAFTS}",
    "OID at line": f"its file of grafts can't be read here: {MEND_GRAFTS}",
    "unsupported repository version": f"it is kept in a way that can't be read here: {COPY}",
}
"""What helps, by what libgit2 says when it refuses a repository."""


class HistoryError(Exception):
    """The history can't be read; the message says why, and what would help."""


def opened(path: Path) -> pygit2.Repository:
    """Open the repository at a path. Raises `HistoryError`."""
    try:
        repository = pygit2.Repository(str(path))
    except (pygit2.GitError, KeyError, ValueError) as error:
        for said, what_helps in HELP.items():
            if said in str(error):
                raise HistoryError(
                    f"{path} is a git repository, but {what_helps.format(path=_typed(path))} "
                    f"({error})"
                ) from error
        if ELSEWHERE.match(str(path)):
            raise HistoryError(
                f"{path} is not on this machine: `git clone --mirror` makes a copy that is"
            ) from error
        raise HistoryError(f"{path} is not a git repository: {error}") from error
    if repository.is_shallow:
        raise HistoryError(
            f"{path} is a shallow clone: `git -C {_typed(path)} fetch --unshallow` completes it"
        )
    return repository


def _typed(path: Path) -> str:
    """Return how a path is typed in a shell, wherever one is."""
    return shlex.quote(str(path.absolute()))


def commit_named(repository: pygit2.Repository, ref: str) -> tuple[str, Sequence[Step]]:
    """Return the ID of the commit that a branch, a tag or any other revision names.

    And the steps from it to one before it: libgit2 would go by parents that git does not show, and
    not through commits that it can't read. Raises `HistoryError`.
    """
    base, steps = _without_steps(ref)
    return _commit_named(repository, base, ref), steps


def _without_steps(ref: str) -> tuple[str, Sequence[Step]]:
    """Split a revision such as `main~2^2` into what it begins at, and which parents follow.

    >>> _without_steps("main~2^2")
    ('main', [1, 1, 2])
    """
    found = STEPS.fullmatch(ref)
    if not found:
        return ref, []
    steps: list[Step] = []
    for kind, number in re.findall(r"([~^])([0-9]*)", found["steps"]):
        count = int(number or 1)
        steps += [1] * count if kind == "~" else [count]
    return found["base"], steps


def _commit_named(repository: pygit2.Repository, base: str, ref: str) -> str:
    try:
        return str(repository.revparse_single(base).peel(pygit2.Commit).id)
    except (pygit2.GitError, KeyError, ValueError) as error:
        # It may be a commit that libgit2 can't read.
        found = _target(repository, base)
        if found is not None:
            return found
        names = sorted(
            re.sub("^refs/(heads/|tags/)?", "", name)
            for name in _references(repository)
            if not name.startswith(REPLACED)
        )
        if not names:
            raise HistoryError(f"{repository.path} is empty: it has no commits yet") from error
        there_is = ", ".join(names[:NAMES_SHOWN]) + (", …" if names[NAMES_SHOWN:] else "")
        raise HistoryError(f"{ref!r} names no commit; there is {there_is}") from error


def replacements(repository: pygit2.Repository) -> dict[str, str]:
    """Return what `git replace` has put in the place of objects, by their IDs."""
    direct = {
        name.removeprefix(REPLACED): str(repository.lookup_reference(name).target)
        for name in _references(repository)
        if name.startswith(REPLACED)
    }
    return {replaced: _last(direct, by) for replaced, by in direct.items()}


def grafts(repository: pygit2.Repository) -> dict[str, tuple[str, ...]]:
    """Return what the older file of grafts says the parents of commits are."""
    folder = Path(repository.path)
    if (shared := folder / "commondir").exists():  # It is one work tree of several.
        folder /= shared.read_text().strip()
    file = folder / "info" / "grafts"
    lines = file.read_text("ascii", "replace").splitlines() if file.exists() else []
    told = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {commit_id.lower(): tuple(map(str.lower, parents)) for commit_id, *parents in told}


def mailmaps(repository: pygit2.Repository) -> Iterator[str]:
    """Yield the files that say who authors are, where git looks for them."""
    if not repository.is_bare:
        yield _text_of(Path(repository.workdir or "") / ".mailmap")
    blob = _setting(repository, "mailmap.blob")
    with suppress(HistoryError, KeyError, ValueError, pygit2.GitError):
        if blob:
            found = repository.revparse_single(blob)
            yield found.peel(pygit2.Blob).data.decode(errors="replace")
        elif repository.is_bare:
            yield _file_at_head(repository, ".mailmap").data.decode(errors="replace")
    if file := _setting(repository, "mailmap.file"):
        with suppress(RuntimeError):  # There is no such home.
            yield _text_of(Path(file).expanduser())


def _file_at_head(repository: pygit2.Repository, name: str) -> pygit2.Blob:
    # Its commit may be one that libgit2 can't read.
    _, raw = repository.odb.read(_commit_named(repository, "HEAD", "HEAD"))
    tree = repository[read_commit(raw).tree or ""].peel(pygit2.Tree)
    return tree[name].peel(pygit2.Blob)


def _setting(repository: pygit2.Repository, name: str) -> str | None:
    try:
        return repository.config[name]
    except KeyError:
        return None


def _text_of(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # As git does where there is none.
        return ""


def _last(direct: dict[str, str], object_id: str) -> str:
    for _ in range(MOST_STEPS):
        object_id = direct.get(object_id, object_id)
    return object_id


def _references(repository: pygit2.Repository) -> Iterator[str]:
    for name in repository.raw_listall_references():
        yield name.decode(errors="replace")


def _target(repository: pygit2.Repository, ref: str) -> str | None:
    """Return the commit that a reference or an ID names; None if there is none."""
    try:
        names = (ref, f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}", f"refs/remotes/{ref}")
        object_id = next(
            (
                str(repository.lookup_reference(name).resolve().target)
                for name in names
                if pygit2.reference_is_valid_name(name) and repository.references.get(name)
            ),
            None,
        ) or str(repository.expand_id(ref.lower()))
        for _ in range(MOST_STEPS):
            kind, raw = repository.odb.read(object_id)
            if kind != pygit2.enums.ObjectType.TAG:
                return object_id if kind == pygit2.enums.ObjectType.COMMIT else None
            object_id = raw[len("object ") :].partition(b"\n")[0].decode()
    except (pygit2.GitError, KeyError, ValueError):
        pass
    return None
