"""What the real git takes is imported, and shown as git shows it."""

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygit2.enums import SortMode

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug
from eventsourcing_kafka.producer.importer.commits import Author, read_author
from eventsourcing_kafka.producer.importer.git_import import (
    GitImporter,
    ImportRefusedError,
    Report,
    user_id_of,
)
from eventsourcing_kafka.producer.importer.history import History, HistoryError

from .real_git import Files, RealGit
from .repositories import Repository, bodies, live

LATIN = "café.md".encode("latin-1")
LONG = b"".join(b"line %d of a text that is long enough to know again\n" % n for n in range(20))


@pytest.fixture
def git(tmp_path: Path) -> RealGit:
    return RealGit(tmp_path / "git")


def run(app: ContentManagement, git: RealGit, limit: int | None = None, prefix: str = "") -> Report:
    return GitImporter(app, History(git.path), prefix=prefix).run(limit)


def changes_of(app: ContentManagement, slug: str) -> list[Page.Event]:
    entry: Slug = app.repository.get(Slug.create_id(slug))
    assert entry.page_id is not None
    return [event for event in app.events.get(entry.page_id) if isinstance(event, Page.Event)]


def test_a_name_in_another_encoding_is_imported_and_its_change_too(
    app: ContentManagement, git: RealGit
) -> None:
    first = git.commit_files({LATIN: LONG})
    run(app, git)
    assert bodies(app) == {"caf\\351.md": LONG.decode()}
    git.commit_files({"café.md".encode(): LONG + b"more\n"}, [first])
    run(app, git)
    assert bodies(app) == {"café.md": LONG.decode() + "more\n"}
    kinds = [type(event).__name__ for event in changes_of(app, "café.md")]
    assert kinds[2:] == ["SlugUpdated", "TitleUpdated", "BodyUpdated"]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("ISO-8859-1", "Jörg Müller"), ("SHIFT_JIS", "山田"), ("KOI8-R", "Анна"), ("", "Jörg Müller")],
)
def test_an_author_is_called_as_the_encoding_of_the_commit_says(
    git: RealGit, encoding: str, name: str
) -> None:
    author = name.encode(encoding or "utf-8") + b" <jm@example.org> 1700000000 +0000"
    commit = git.commit_files({b"a": b"a"}, author=author, encoding=encoding.encode())
    shown = History(git.path).author(commit)
    assert shown
    assert shown.name == name == git.shown(commit)[0].decode()


@pytest.mark.parametrize("encoding", [b"klingon", b"UTF-8", b"hex", b"\xff"])
def test_an_author_in_an_encoding_that_it_is_not_in_is_shown_with_signs(
    git: RealGit, encoding: bytes
) -> None:
    author = b"J\xf6rg <jm@example.org> 1700000000 +0000"
    commit = git.commit_files({b"a": b"a"}, author=author, encoding=encoding)
    shown = History(git.path).author(commit)
    assert shown
    assert shown.name == "J\N{REPLACEMENT CHARACTER}rg"


MALFORMED = {
    b"nobody 1700000000 +0000": "names no author",
    b"no bracket <nobody@example.org 1700000000 +0000": "names no author",
    b"": "names no author",
    b"Ann <ann@example.org> %d +0000" % 2**64: "no date",
    b"Ann <ann@example.org> 253402300800 +0000": "no date",
    b"Ann <ann@example.org>": "no date",
    b"Ann <ann@example.org> yesterday +0000": "no date",
}


@pytest.mark.parametrize("line", MALFORMED)
def test_a_commit_with_a_malformed_author_or_date_is_imported_and_named(
    app: ContentManagement, git: RealGit, line: bytes
) -> None:
    first = git.commit_files({b"a": b"one\n"})
    second = git.commit_files({b"a": b"two\n"}, [first], author=line, committer=line)
    report = run(app, git)
    assert report.commits == 2
    assert list(report.malformed) == [second]
    assert MALFORMED[line] in report.malformed[second]
    assert live(app) == {"a": "two\n"}
    git.commit_files({b"a": b"three\n"}, [second])
    assert run(app, git).malformed == {}
    assert live(app) == {"a": "three\n"}
    author = read_author(b"author " + line)
    expected = user_id_of(author) if author else None
    assert [event.user_id for event in changes_of(app, "a")][2] == expected


def test_a_commit_that_does_not_say_which_files_it_has_is_named_and_the_rest_goes_on(
    app: ContentManagement, git: RealGit
) -> None:
    first = git.commit_files({b"a": b"one\n", b"b": b"b\n"})
    raw = f"parent {first}\nauthor A <a> 0 +0000\ncommitter A <a> 0 +0000\n\nmessage\n".encode()
    broken = git.run("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw)
    last = git.commit_files({b"a": b"three\n"}, [broken.decode().strip()])
    report = run(app, git)
    assert list(report.malformed) == [broken.decode().strip()]
    assert live(app) == {"a": "three\n"}
    assert History(git.path).tip == last


def test_commits_of_any_time_keep_it(app: ContentManagement, git: RealGit) -> None:
    years = [1938, 1969, 1970, 2005, 2023]
    times = [datetime(year, 5, 17, 12, tzinfo=UTC) for year in years]
    parents: list[str] = []
    for time in times:
        author = b"Ann <ann@example.org> %d +0530" % time.timestamp()
        parents = [git.commit_files({b"a": str(time).encode()}, parents, author=author)]
    before = datetime.now(UTC)
    assert run(app, git).malformed == {}
    changes = changes_of(app, "a")
    assert [change.occurred_at for change in changes] == [times[0], *times]
    assert all(change.timestamp >= before for change in changes)
    assert app.repository.get(changes[0].originator_id).changed_at == times[-1]
    app.update_body("a", "edited here")
    last = changes_of(app, "a")[-1]
    assert last.occurred_at is None
    assert last.changed_at == last.timestamp


def test_authors_are_called_as_the_mailmap_says(app: ContentManagement, git: RealGit) -> None:
    mailmap = b"Ann Arbor <ann@example.org> <old@example.org>\nBob <bob@example.org> bobby <b@x>\n"
    authors = [b"ann <OLD@example.org>", b"bobby <b@x>", b"other <b@x>"]
    parents: list[str] = []
    for number, author in enumerate(authors):
        files = {b".mailmap": mailmap, b"a": b"%d\n" % number}
        parents = [git.commit_files(files, parents, author=author + b" 1700000000 +0000")]
    run(app, git)
    expected = [("Ann Arbor", "ann@example.org"), ("Bob", "bob@example.org"), ("other", "b@x")]
    ids = [user_id_of(Author(name, email, None)) for name, email in expected]
    assert [event.user_id for event in changes_of(app, "a")] == [ids[0], *ids]


def test_what_replaces_a_commit_is_imported(app: ContentManagement, git: RealGit) -> None:
    first = git.commit_files({b"a": b"one\n"})
    last = git.commit_files({b"a": b"wrong\n"}, [first])
    better = git.commit_files({b"a": b"right\n"}, [first], author=b"Bob <bob@x> 1 +0000")
    git.run("update-ref", "refs/heads/main", last)
    git.run("replace", last, better)
    run(app, git)
    assert live(app) == {"a": "right\n"}
    assert [event.user_id for event in changes_of(app, "a")][-1] == user_id_of(
        Author("Bob", "bob@x", None)
    )


@pytest.mark.parametrize("by", ["replace", "file"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_graft_puts_an_older_history_before_another(
    app: ContentManagement, git: RealGit, by: str, when: str
) -> None:
    older = git.commit_files({b"old": b"old\n", b"a": b"older\n"})
    root = git.commit_files({b"a": b"a\n"})
    tip = git.commit_files({b"a": b"b\n"}, [root])
    if when == "after":
        assert run(app, git).commits == 2  # What comes before them by then is over and done with.
    if by == "replace":
        git.run("replace", "--graft", root, older)
    else:
        (git.path / "info" / "grafts").write_text(f"{root} {older}\n")
    assert History(git.path).commits() == [older, root, tip]
    assert run(app, git).commits == (3 if when == "before" else 0)
    assert live(app) == {"a": "b\n"}
    git.commit_files({b"a": b"c\n"}, [tip])
    assert run(app, git).commits == 1
    assert live(app) == {"a": "c\n"}


def test_a_file_of_grafts_that_only_git_reads_says_what_to_do_and_that_works(git: RealGit) -> None:
    older = git.commit_files({b"a": b"older\n"})
    root = git.commit_files({b"a": b"a\n"})
    (git.path / "info" / "grafts").write_text(f"# a comment\n{root} {older}\n")
    with pytest.raises(HistoryError, match=f"git -C {git.path} replace --convert-graft-file"):
        History(git.path)
    git.run("replace", "--convert-graft-file")
    assert History(git.path).commits() == [older, root]


def test_a_file_of_grafts_is_read_whatever_the_case_of_its_ids(git: RealGit) -> None:
    older = git.commit_files({b"a": b"older\n"})
    root = git.commit_files({b"a": b"a\n"})
    (git.path / "info" / "grafts").write_text(f"{root.upper()} {older.upper()}\n")
    assert History(git.path).commits() == [older, root]


@pytest.mark.parametrize("revision", ["HEAD", "HEAD~1", "HEAD~2", "main^", "HEAD^^", "HEAD~1^0"])
def test_a_revision_is_found_through_what_is_malformed_and_the_parents_that_git_shows(
    git: RealGit, revision: str
) -> None:
    older = git.commit_files({b"a": b"older\n"})
    root = git.commit_files({b"a": b"a\n"})
    git.commit_files({b"a": b"b\n"}, [root], author=b"nobody")
    git.run("replace", "--graft", root, older)
    expected = git.run("rev-parse", revision).decode().strip()
    assert History(git.path, revision).tip == expected


def test_a_malformed_commit_is_found_by_the_beginning_of_its_id(git: RealGit) -> None:
    commit = git.commit_files({b"a": b"a\n"}, author=b"nobody")
    for ref in (commit[:8], commit[:8].upper(), commit):
        assert History(git.path, ref).tip == commit
    with pytest.raises(HistoryError, match="'HEAD~7' names no commit"):
        History(git.path, "HEAD~7")


def test_what_helps_can_be_typed_anywhere_whatever_the_repository_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = RealGit(tmp_path / "o'wn er")
    older = git.commit_files({b"a": b"older\n"})
    root = git.commit_files({b"a": b"a\n"})
    (git.path / "info" / "grafts").write_text(f"# a comment\n{root} {older}\n")
    monkeypatch.chdir(git.path)
    with pytest.raises(HistoryError) as refused:
        History(Path())
    (command, *_) = re.findall("`(.+?)`", str(refused.value))
    monkeypatch.chdir(tmp_path)
    subprocess.run(shlex.split(command), check=True)
    assert History(git.path).commits() == [older, root]


def test_an_address_is_told_from_a_folder() -> None:
    for address in ("https://example.org/a/b", "git@example.org:a/b"):
        with pytest.raises(HistoryError, match="is not on this machine: `git clone --mirror`"):
            History(Path(address))


def test_a_mailmap_that_is_nowhere_is_none(git: RealGit) -> None:
    git.commit_files({b"a": b"a\n"})
    for file in ("~nobody-here/x", "/proc/self/mem", "/nowhere"):
        git.run("config", "mailmap.file", file)
        assert History(git.path).author(History(git.path).tip)


def test_a_merge_whose_main_line_has_another_root_imports_each_commit_once(
    app: ContentManagement, repository: Repository
) -> None:
    first = repository.commit({"a": "one\n"})
    second = repository.commit({"a": "two\n"}, parents=[first])
    assert GitImporter(app, History(repository.path)).run().commits == 2
    other = repository.commit({"b": "other root\n"}, parents=[])
    repository.commit({"a": "two\n"}, parents=[other, second])
    assert GitImporter(app, History(repository.path)).run(limit=1).commits == 1
    assert GitImporter(app, History(repository.path)).run().commits == 1
    assert live(app) == {"a": "two\n", "b": "other root\n"}
    assert len(changes_of(app, "a")) == 3


def test_another_repository_is_refused_and_imported_into_a_folder_of_its_own(
    app: ContentManagement, tmp_path: Path
) -> None:
    one, other = RealGit(tmp_path / "one"), RealGit(tmp_path / "other")
    root = one.commit_files({b"README.md": b"one\n"})
    last = other.commit_files({b"README.md": b"other\n"})
    run(app, one)
    with pytest.raises(ImportRefusedError, match="--prefix"):
        run(app, other)
    assert live(app) == {"README.md": "one\n"}
    run(app, other, prefix="/other/")
    assert live(app) == {"README.md": "one\n", "other/README.md": "other\n"}
    other.commit_files({b"README.md": b"other two\n"}, [last])
    one.commit_files({b"README.md": b"one two\n", b"other/README.md": b"third\n"}, [root])
    assert run(app, other, prefix="other").commits == 1
    report = run(app, one)
    assert "other/README.md" in report.skipped
    assert live(app) == {"README.md": "one two\n", "other/README.md": "other two\n"}


def test_a_page_that_was_there_before_is_left_as_it_is(
    app: ContentManagement, git: RealGit
) -> None:
    app.create_page("Mine", "a")
    app.update_body("a", "mine\n")
    first = git.commit_files({b"a": LONG, b"b": b"b\n"})
    assert list(run(app, git).skipped) == ["a"]
    git.commit_files({b"moved": LONG}, [first])
    run(app, git)
    assert live(app) == {"a": "mine\n", "moved": LONG.decode()}


def test_a_repository_with_other_names_of_objects_says_what_to_do_and_that_works(
    app: ContentManagement, tmp_path: Path
) -> None:
    git = RealGit(tmp_path / "sha256", "--object-format=sha256")
    git.commit_files({b"a": b"one\n"})
    with pytest.raises(HistoryError, match="SHA-256") as refused:
        History(git.path)
    assert f"git -C {git.path} fast-export --all --signed-tags=strip" in str(refused.value)
    copy = RealGit(tmp_path / "copy")
    exported = git.run("fast-export", "--all", "--signed-tags=strip")
    copy.run("fast-import", "--quiet", stdin=exported)
    run(app, copy)
    assert live(app) == {"a": "one\n"}


@pytest.mark.parametrize("extension", ["refstorage", "fancy"])
def test_a_repository_of_a_later_format_says_what_to_do(git: RealGit, extension: str) -> None:
    git.run("config", "core.repositoryformatversion", "1")
    git.run("config", f"extensions.{extension}", "reftable")
    with pytest.raises(HistoryError, match=f"git clone --mirror {git.path} COPY"):
        History(git.path)


def test_a_repository_of_another_user_says_what_to_do(
    git: RealGit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who is not root can give nothing away: what libgit2 says then is said here.
    def refuse(path: str) -> pygit2.Repository:
        raise pygit2.GitError(f"repository path {path!r} is not owned by current user")

    monkeypatch.setattr(pygit2, "Repository", refuse)
    with pytest.raises(HistoryError, match=f"git config --global --add safe.directory {git.path}"):
        History(git.path)


class Step(NamedTuple):
    """A commit to be: what it changes, which earlier ones it comes after, and its author line."""

    changes: dict[bytes, bytes | None]
    parents: list[int]
    author: bytes
    encoding: bytes
    minute: int


PATHS = [b"a.md", b"d", b"d/x", LATIN, "café.md".encode(), b"\xff\xfe", "日本".encode(), b"\n"]
CONTENTS = [b"one\n", b"two\r\n", b"no newline", LONG, LONG + b"more\n", b" \n\t\n", None, None]
AUTHORS = [
    b"Ann <ann@example.org> 1700000000 +0000",
    b"ann <OLD@example.org> 1 -0700",
    "Jörg <jm@example.org> 1234567890 +0100".encode(),
    b"J\xf6rg <jm@example.org> 99 +0000",
    b"A<b>c <d@example.org> 7 +0000",
    b" Bob  <> 8 +0000",
    b"nobody 9 +0000",
    b"Ann <ann@example.org> 9 +0000 <d@example.org>",
    b"Ann <ann@example.org> %d +0000" % 2**64,
]
STEPS = st.lists(
    st.builds(
        Step,
        st.dictionaries(st.sampled_from(PATHS), st.sampled_from(CONTENTS), max_size=3),
        st.lists(st.integers(0, 5), max_size=3, unique=True),
        st.sampled_from(AUTHORS),
        st.sampled_from([b"", b"ISO-8859-1"]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
)
MAILMAP = b"Ann Arbor <ann@example.org> <old@example.org>\n"


def written(git: RealGit, steps: list[Step]) -> None:
    """Write the commits; the last one comes after all that nothing else comes after."""
    files: list[dict[bytes, bytes]] = []
    for number, step in enumerate(steps):
        first = parents_of(steps, number)[:1]
        held = dict(files[first[0]]) if first else {b".mailmap": MAILMAP}
        for path, content in step.changes.items():
            held = {p: c for p, c in held.items() if not conflict(p, path)}
            if content is not None:
                held[path] = content
        files.append(held)
    commits: list[str] = []
    for number, (tree, step) in enumerate(zip(git.trees(files), steps, strict=True)):
        parents = [commits[parent] for parent in parents_of(steps, number)]
        committer = b"C <c@example.org> %d +0000" % (1_700_000_000 + 60 * step.minute)
        commits.append(git.commit(tree, parents, step.author, committer, step.encoding))


def parents_of(steps: list[Step], number: int) -> list[int]:
    parents = [parent for parent in steps[number].parents if parent < number]
    if number == len(steps) - 1:
        followed = {each for n in range(number) for each in parents_of(steps, n)}
        parents += [n for n in range(number) if n not in followed and n not in parents]
    return parents


def conflict(one: bytes, other: bytes) -> bool:
    return one == other or one.startswith(other + b"/") or other.startswith(one + b"/")


def slug_of(path: bytes) -> str:
    """Return a path as git prints it."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"\\{byte:03o}" for byte in path)


@contextmanager
def a_wiki() -> Iterator[ContentManagement]:
    with ContentManagement({"PERSISTENCE_MODULE": "eventsourcing.popo"}) as app:
        yield app


def texts(files: Files) -> dict[str, str]:
    return {slug_of(path): text.decode() for path, text in files.items() if path.strip() and text}


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_after_each_commit_of_any_history_its_pages_are_its_files(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder, a_wiki() as app:
        git = RealGit(Path(folder) / "git")
        written(git, steps)
        for commit in GitImporter(app, History(git.path)).remaining:
            begin = app.recorder.max_notification_id() or 0
            run(app, git, limit=1)
            files, pages = texts(git.files(commit)), live(app)
            for slug in map(slug_of, git.touched(commit)):
                assert pages.get(slug) == files.get(slug)
            check_author(app, git, commit, begin)
        assert live(app) == texts(git.files("main"))


def check_author(app: ContentManagement, git: RealGit, commit: str, begin: int) -> None:
    """Compare who has made the changes behind a position, and when, with what git shows."""
    name, email, at = git.shown(commit)
    for notification in app.recorder.select_notifications(begin + 1, 1000):
        event: Any = app.mapper.to_domain_event(notification)
        if not isinstance(event, Page.Event):
            continue
        expected: UUID | None = None
        if name != b"%aN":  # That is what git prints where it knows none.
            author = Author(name.decode(errors="replace").strip(), email.decode(), None)
            expected = user_id_of(author)
        assert event.user_id == expected
        if event.occurred_at is not None:
            assert event.occurred_at.timestamp() == int(at)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_commits_are_in_the_order_of_earlier_versions(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        git = RealGit(Path(folder) / "git")
        written(git, [step._replace(author=AUTHORS[0]) for step in steps])
        order = SortMode.TOPOLOGICAL | SortMode.TIME | SortMode.REVERSE
        repository = pygit2.Repository(str(git.path))
        walked = repository.walk(repository.revparse_single("main").id, order)
        assert History(git.path).commits() == [str(commit.id) for commit in walked]
