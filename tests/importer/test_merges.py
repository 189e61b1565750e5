"""Whatever the shape of a history, the wiki ends up as the files at its tip."""

import random

import pytest

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.git_import import GitImporter, Report
from eventsourcing_kafka.producer.importer.history import History

from .repositories import Content, Repository, live, story

LONG = "".join(
    f"line {number} of a text that is long enough to know again\n" for number in range(20)
)


def run(app: ContentManagement, repository: Repository, limit: int | None = None) -> Report:
    return GitImporter(app, History(repository.path)).run(limit)


def assert_same(app: ContentManagement, repository: Repository) -> None:
    files = repository.texts(repository.commits[-1])
    assert live(app) == {path: text for path, text in files.items() if text}


def test_a_clean_merge_adds_nothing_to_what_its_branches_did(
    app: ContentManagement, repository: Repository
) -> None:
    base = repository.commit({"a": "a\n", "b": "b\n"})
    left = repository.commit({"a": "left\n"}, parents=[base])
    right = repository.commit({"b": "right\n"}, parents=[base])
    merge = repository.commit({"b": "right\n"}, parents=[left, right])
    importer = GitImporter(app, History(repository.path))
    assert importer.remaining[-1] == merge
    importer.run(limit=3)
    story_of_branches = story(app)
    assert run(app, repository).commits == 1
    assert story(app) == story_of_branches
    assert_same(app, repository)


def test_every_commit_of_both_branches_is_imported_once_by_time(
    app: ContentManagement, repository: Repository
) -> None:
    base = repository.commit({"a": "a\n"}, minute=0)
    left1 = repository.commit({"left": "1\n"}, parents=[base], minute=1)
    right2 = repository.commit({"right": "2\n"}, parents=[base], minute=2)
    left3 = repository.commit({"left": "3\n"}, parents=[left1], minute=3)
    right4 = repository.commit({"right": "4\n"}, parents=[right2], minute=4)
    merge = repository.commit({"right": "4\n"}, parents=[left3, right4], minute=5)
    importer = GitImporter(app, History(repository.path))
    assert importer.remaining == [base, left1, right2, left3, right4, merge]
    assert importer.run().commits == 6
    assert_same(app, repository)


def test_an_octopus_of_unrelated_and_evil_changes_is_followed(
    app: ContentManagement, repository: Repository
) -> None:
    base = repository.commit({"a": LONG, "b": "b\n"})
    moved = repository.commit({"a": None, "moved": LONG}, parents=[base])
    edited = repository.commit({"a": LONG + "edited\n"}, parents=[base])
    other_root = repository.commit({"c": "c\n"}, parents=[])
    repository.commit(
        {"moved": LONG + "edited\n", "c": "c\n", "b": None, "evil": "in no parent\n"},
        parents=[moved, edited, other_root],
    )
    run(app, repository)
    assert_same(app, repository)


def test_a_merge_that_takes_one_side_only_takes_back_the_other(
    app: ContentManagement, repository: Repository
) -> None:
    base = repository.commit({"a": "a\n"})
    ours = repository.commit({"a": "ours\n"}, parents=[base], minute=1)
    theirs = repository.commit({"a": "theirs\n", "b": "b\n"}, parents=[base], minute=2)
    repository.commit({}, parents=[ours, theirs], minute=3)
    run(app, repository)
    assert_same(app, repository)


@pytest.mark.parametrize("seed", range(40))
def test_any_history_imported_in_any_steps_ends_as_its_files(
    app: ContentManagement, repository: Repository, seed: int
) -> None:
    chance = random.Random(seed)
    paths = ["a", "b", "c", "d/e", "d/f", "d", "A"]
    heads: list[str] = []
    for _ in range(30):
        parents = chance.sample(heads, min(len(heads), chance.choice([0, 1, 1, 1, 2, 3])))
        changes = {path: content(chance) for path in chance.sample(paths, chance.randint(0, 3))}
        if parents and chance.random() < 0.4:
            # A file moves, to a path that may have been used before.
            files = repository.texts(parents[0])
            for old in chance.sample(sorted(files), min(1, len(files))):
                changes |= {old: None, chance.choice(paths): files[old] + "moved\n"}
        commit = repository.commit(changes, parents=parents, minute=chance.randint(0, 30))
        heads = [head for head in heads if head not in parents or chance.random() < 0.2]
        heads.append(commit)
        if chance.random() < 0.1:
            repository.commit({}, parents=heads)
            heads = repository.commits[-1:]
            run(app, repository, limit=chance.choice([None, 1, 5]))
    repository.commit({}, parents=heads)
    run(app, repository)
    assert_same(app, repository)


def content(chance: random.Random) -> Content:
    words = chance.choices(["one\n", "two\n", "three\n", "x" * 50 + "\n"], k=chance.randint(0, 6))
    return chance.choice([None, "".join(words), LONG, LONG + "".join(words)])
