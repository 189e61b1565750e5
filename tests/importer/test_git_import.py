"""A repository's history becomes the wiki's history."""

from uuid import NAMESPACE_URL, UUID, uuid5

import pygit2
import pytest
from pygit2.enums import FileMode

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug, user_id_cvar
from eventsourcing_kafka.producer.importer.git_import import GitImporter, Report
from eventsourcing_kafka.producer.importer.history import History

from .repositories import Repository, bodies, live, story

LONG = "".join(
    f"line {number} of a text that is long enough to know again\n" for number in range(20)
)


def run(app: ContentManagement, repository: Repository, *include: str) -> Report:
    return GitImporter(app, History(repository.path), include).run()


def page_id(app: ContentManagement, slug: str) -> UUID:
    entry: Slug = app.repository.get(Slug.create_id(slug))
    assert entry.page_id is not None
    return entry.page_id


def test_each_file_becomes_a_page_named_by_its_path(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"README.md": "Hello\n", "docs/getting_started-now.md": "Run it\n"})
    assert run(app, repository).commits == 1
    assert app.get_page_by_slug("README.md")["title"] == "README"
    page = app.get_page_by_slug("docs/getting_started-now.md")
    assert page["title"] == "getting started now"
    assert page["body"] == "Run it\n"


def test_each_commit_is_an_update_by_its_author(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a": "one\n"}, email="ann@example.org")
    repository.commit({"a": "one\ntwo\n"}, email="bob@example.org")
    repository.commit({"a": "two\n"}, email=" Ann@Example.ORG ")
    run(app, repository)
    ann, bob = (uuid5(NAMESPACE_URL, f"mailto:{name}@example.org") for name in ("ann", "bob"))
    events = app.events.get(page_id(app, "a"))
    updates = [event for event in events if isinstance(event, Page.Event)]
    assert [event.user_id for event in updates] == [ann, ann, bob, ann]
    assert [event.diff for event in updates if isinstance(event, Page.BodyUpdated)] == [
        "0a1\n> one\n",
        "1a2\n> two\n",
        "1d0\n< one\n",
    ]
    assert user_id_cvar.get() is None


def test_a_rename_moves_the_page_with_its_history(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"old name.md": LONG})
    repository.commit({"old name.md": None, "docs/new-name.md": LONG + "and more\n"})
    run(app, repository)
    page = app.get_page_by_slug("docs/new-name.md")
    assert page["title"] == "new name"
    assert page["body"] == LONG + "and more\n"
    assert bodies(app).keys() == {"docs/new-name.md"}
    kinds = [type(event).__name__ for event in app.events.get(page_id(app, "docs/new-name.md"))]
    assert kinds == ["Created", "BodyUpdated", "SlugUpdated", "TitleUpdated", "BodyUpdated"]


def test_a_title_that_was_given_in_the_wiki_survives_a_rename(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a.md": LONG})
    run(app, repository)
    app.update_title("a.md", "All about A")
    repository.commit({"a.md": None, "b.md": LONG})
    run(app, repository)
    assert app.get_page_by_slug("b.md")["title"] == "All about A"


def test_a_deletion_empties_the_page_and_a_return_fills_it(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a": "one\n", "b": "b\n"})
    repository.commit({"a": None})
    run(app, repository)
    identity = page_id(app, "a")
    assert app.get_page_by_slug("a")["body"] == ""
    repository.commit({"a": "back\n"})
    run(app, repository)
    assert app.get_page_by_slug("a")["body"] == "back\n"
    assert page_id(app, "a") == identity


AWKWARD_STEPS: dict[str, list[dict[str, str | bytes | tuple[bytes, FileMode] | None]]] = {
    "a rename onto the slug of a deleted page": [
        {"a": LONG, "b": "b\n"},
        {"b": None},
        {"a": None, "b": LONG},
    ],
    "a rename onto a file": [{"a": LONG, "b": "b\n"}, {"a": None, "b": LONG}],
    "two files swapped": [{"a": LONG, "b": "b\n" * 50}, {"a": "b\n" * 50, "b": LONG}],
    "a chain of renames": [
        {"a": LONG, "b": "b\n" * 50},
        {"a": None, "b": LONG, "c": "b\n" * 50},
        {"b": "new\n", "d": LONG},
    ],
    "a file renamed and its name used again": [
        {"a": LONG},
        {"a": None, "b": LONG},
        {"a": LONG + "again\n"},
        {"b": None, "c": LONG},
    ],
    "only the case changed": [{"README": LONG}, {"README": None, "readme": LONG}],
    "a file became a folder": [{"a": LONG}, {"a": None, "a/b": LONG}],
    "a folder became a file": [{"a/b": LONG}, {"a/b": None, "a": LONG}],
    "only the mode changed": [{"a": LONG}, {"a": (LONG.encode(), FileMode.BLOB_EXECUTABLE)}],
    "a link became a file": [{"a": (b"b", FileMode.LINK)}, {"a": "text\n"}],
    "a file became a link": [{"a": "text\n"}, {"a": (b"b", FileMode.LINK)}],
    "a file became a submodule": [{"a": "text\n"}, {"a": (b"x" * 20, FileMode.COMMIT)}],
    "a folder became a submodule": [{"a/b": LONG}, {"a": (b"x" * 20, FileMode.COMMIT)}],
    "an empty file": [{"a": ""}, {"a": "text"}, {"a": ""}],
    "no newline at the end": [{"a": "x\ny"}, {"a": "x\ny\n"}, {"a": "x\r\ny\r"}],
    "a commit that changes nothing": [{"a": "text\n"}, {}],
    "one of two equal files renamed": [{"a": LONG, "b": LONG}, {"a": None, "c": LONG}],
}


@pytest.mark.parametrize("steps", AWKWARD_STEPS.values(), ids=AWKWARD_STEPS.keys())
def test_every_page_equals_its_file_after_every_commit(
    app: ContentManagement,
    repository: Repository,
    steps: list[dict[str, str | bytes | tuple[bytes, FileMode] | None]],
) -> None:
    for step in steps:
        commit = repository.commit(step)
        run(app, repository)
        assert live(app) == {path: text for path, text in repository.texts(commit).items() if text}


def test_one_import_of_several_commits_tells_the_same_as_one_for_each(
    app: ContentManagement, repository: Repository
) -> None:
    for folder, steps in enumerate(AWKWARD_STEPS.values()):
        for step in steps:
            repository.commit({f"{folder}/{path}": content for path, content in step.items()})
    run(app, repository)
    with ContentManagement({"PERSISTENCE_MODULE": "eventsourcing.popo"}) as other:
        for _ in repository.commits:
            GitImporter(other, History(repository.path)).run(limit=1)
        assert story(other) == story(app)


def test_what_is_no_text_is_reported_and_left_out(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit(
        {
            "text": "text\n",
            "image": b"\x89PNG\0",
            "latin": b"caf\xe9",
            "long": "x" * 400_001,
            "controls": "\x01" * 200_000,
            "link": (b"text", FileMode.LINK),
            "module": (b"x" * 20, FileMode.COMMIT),
            "p" * 513: "the path is too long\n",
            " ": "the path is blank\n",
        }
    )
    report = run(app, repository)
    assert bodies(app) == {"text": "text\n"}
    assert report.skipped == {
        "image": "binary",
        "latin": "not UTF-8",
        "long": "over-long",
        "controls": "over-long",
        "link": "symbolic link",
        "module": "submodule",
        "p" * 513: "path unfit for a slug",
        " ": "path unfit for a slug",
    }


def test_a_path_that_is_not_utf8_is_a_page_named_as_git_writes_it(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"text": "text\n"})
    raw = repository.git[repository.git[repository.commits[-1]].peel(pygit2.Tree).id].read_raw()
    tree = repository.git.write(pygit2.enums.ObjectType.TREE, raw.replace(b"text", b"t\xe9xt"))
    author = pygit2.Signature("Author", "ann@example.org", 1_700_000_000, 0)
    repository.git.create_commit("HEAD", author, author, "", tree, [repository.commits[-1]])
    assert run(app, repository).skipped == {}
    assert live(app) == {"t\\351xt": "text\n"}


def test_a_file_that_becomes_binary_keeps_its_last_text(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a": "text\n"})
    repository.commit({"a": b"\0"})
    assert run(app, repository).skipped == {"a": "binary"}
    assert live(app) == {"a": "text\n"}
    repository.commit({"a": "text again\n"})
    run(app, repository)
    assert live(app) == {"a": "text again\n"}


def test_a_file_renamed_to_a_path_that_is_no_slug_empties_its_page(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a": LONG})
    repository.commit({"a": None, "p" * 513: LONG})
    run(app, repository)
    assert bodies(app) == {"a": ""}


def test_a_change_too_large_for_one_event_is_made_in_two(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a": "\x01\n" * 85_000})
    repository.commit({"a": "\x02\n" * 85_000})
    assert run(app, repository).skipped == {}
    assert live(app) == {"a": "\x02\n" * 85_000}
    assert len(list(app.events.get(page_id(app, "a")))) == 4


def test_only_files_that_match_a_glob_are_imported(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a.md": "a\n", "docs/b.md": "b\n", "docs/c.rst": "c\n", "d.py": LONG})
    run(app, repository, "*.md", "docs/*.rst")
    assert live(app) == {"a.md": "a\n", "docs/b.md": "b\n", "docs/c.rst": "c\n"}
    repository.commit({"a.md": None, "a.txt": "a\n", "d.py": None, "d.md": LONG})
    run(app, repository, "docs/*.rst", "*.md")
    assert live(app) == {"docs/b.md": "b\n", "docs/c.rst": "c\n", "d.md": LONG}


def test_a_file_that_moves_out_of_the_globs_empties_its_page(
    app: ContentManagement, repository: Repository
) -> None:
    repository.commit({"a.md": LONG})
    repository.commit({"a.md": None, "a.txt": LONG})
    app.create_page("Mine", "a.txt")
    app.update_body("a.txt", "not imported\n")
    run(app, repository, "*.md")
    assert bodies(app) == {"a.txt": "not imported\n", "a.md": ""}
