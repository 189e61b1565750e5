"""The wiki's commands and queries, on every persistence module."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import IntegrityError

from eventsourcing_kafka.producer.contentmanagement.application import (
    ContentManagement,
    InvalidPageError,
    PageNotFoundError,
    SlugConflictError,
)
from eventsourcing_kafka.producer.contentmanagement.domainmodel import (
    Page,
    PageLogged,
    Slug,
    user_id_cvar,
)


@contextmanager
def user() -> Iterator[UUID]:
    user_id = uuid4()
    token = user_id_cvar.set(user_id)
    yield user_id
    user_id_cvar.reset(token)


def page_id(app: ContentManagement, slug: str) -> UUID:
    entry: Slug = app.repository.get(Slug.create_id(slug))
    assert entry.page_id is not None
    return entry.page_id


def recorded(app: ContentManagement, start: int = 1) -> dict[int, DomainEventProtocol[UUID]]:
    notifications = app.notification_log.recorder.select_notifications(start, 1000)
    return {n.id: app.mapper.to_domain_event(n) for n in notifications}


def test_a_new_page_is_empty_and_found_by_its_slug_and_id(app: ContentManagement) -> None:
    with user() as user_id:
        app.create_page(title="Welcome", slug="welcome")
    details = {"title": "Welcome", "slug": "welcome", "body": "", "modified_by": user_id}
    assert app.get_page_by_slug("welcome") == details
    assert app.get_page_by_id(page_id(app, "welcome")) == details


def test_a_page_that_is_not_there_is_not_found(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    with pytest.raises(PageNotFoundError, match="nowhere"):
        app.get_page_by_slug("nowhere")
    with pytest.raises(PageNotFoundError):
        app.get_page_by_id(uuid4())
    with pytest.raises(PageNotFoundError):
        app.get_page_by_id(Slug.create_id("welcome"))
    for command in (app.update_title, app.update_slug, app.update_body):
        with pytest.raises(AggregateNotFoundError):
            command("nowhere", "x")


def test_each_change_is_seen_with_the_user_who_made_it(app: ContentManagement) -> None:
    with user():
        app.create_page("Welcome", "welcome")
    with user() as second:
        app.update_title("welcome", "Welcome Visitors")
    page = app.get_page_by_slug("welcome")
    assert (page["title"], page["modified_by"]) == ("Welcome Visitors", second)
    with user() as third:
        app.update_slug("welcome", "welcome-visitors")
    page = app.get_page_by_slug("welcome-visitors")
    assert (page["slug"], page["modified_by"]) == ("welcome-visitors", third)
    with user() as fourth:
        app.update_body("welcome-visitors", "Welcome to my wiki!")
    page = app.get_page_by_slug("welcome-visitors")
    assert (page["body"], page["modified_by"]) == ("Welcome to my wiki!", fourth)


def test_every_event_of_a_page_carries_its_user(app: ContentManagement) -> None:
    users = []
    commands: list[tuple[Callable[..., int], tuple[str, str]]] = [
        (app.create_page, ("Welcome", "welcome")),
        (app.update_title, ("welcome", "Hello")),
        (app.update_slug, ("welcome", "hello")),
        (app.update_body, ("hello", "Hello!")),
    ]
    for command, arguments in commands:
        with user() as user_id:
            command(*arguments)
        users.append(user_id)
    app.update_body("hello", "anonymous")
    events = [event for event in recorded(app).values() if isinstance(event, Page.Event)]
    assert [event.user_id for event in events] == [*users, None]


def test_a_command_returns_the_position_of_the_page_event_it_made(app: ContentManagement) -> None:
    positions = [
        app.create_page("Welcome", "welcome"),
        app.update_title("welcome", "Hello"),
        app.update_slug("welcome", "hello"),
        app.update_slug("hello", "hello"),
        app.update_body("hello", "Hello!"),
        app.create_page("Welcome", "welcome"),
        app.update_slug("hello", "other"),
    ]
    events = recorded(app)
    assert [type(events[position]).__qualname__ for position in positions] == [
        "Page.Created",
        "Page.TitleUpdated",
        "Page.SlugUpdated",
        "Page.SlugUpdated",
        "Page.BodyUpdated",
        "Page.Created",
        "Page.SlugUpdated",
    ]
    assert positions[-1] == max(events)


def test_a_body_is_recorded_as_the_difference(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    app.update_body("welcome", "one\ntwo\n")
    position = app.update_body("welcome", "one\n2\n")
    event = recorded(app)[position]
    assert isinstance(event, Page.BodyUpdated)
    assert event.diff == "2c2\n< two\n---\n> 2\n"


def test_a_page_is_snapshotted_at_every_fifth_event(app: ContentManagement) -> None:
    assert app.snapshots is not None
    app.create_page("Welcome", "welcome")
    identity = page_id(app, "welcome")
    for number in range(2, 13):
        assert len(list(app.snapshots.get(identity))) == (number - 1) // 5
        app.update_body("welcome", f"version {number}\n")
    versions = [snapshot.originator_version for snapshot in app.snapshots.get(identity)]
    assert versions == [5, 10]
    assert app.get_page_by_slug("welcome")["body"] == "version 12\n"


def test_events_are_compressed_with_gzip(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    for notification in app.recorder.select_notifications(1, 10):
        assert b"timestamp" in gzip.decompress(bytes(notification.state))


def test_pages_are_listed_in_the_order_of_their_creation(app: ContentManagement) -> None:
    assert list(app.get_pages()) == []
    for number in range(1, 6):
        app.create_page(f"Page {number}", f"page-{number}")
    app.update_slug("page-1", "first")

    def listed(**selection: int) -> list[str]:
        return [page["slug"] for page in app.get_pages(**selection)]  # type: ignore[arg-type]

    assert listed() == ["first", "page-2", "page-3", "page-4", "page-5"]
    assert listed(desc=True) == ["page-5", "page-4", "page-3", "page-2", "first"]
    assert listed(desc=True, limit=3) == ["page-5", "page-4", "page-3"]
    assert listed(desc=True, lte=2) == ["page-2", "first"]
    assert listed(desc=True, lte=2, limit=3) == ["page-2", "first"]
    assert listed(gt=3) == ["page-4", "page-5"]
    assert listed(gt=1, lte=3) == ["page-2", "page-3"]


def test_a_slug_used_by_another_page_is_refused_and_nothing_changes(
    app: ContentManagement,
) -> None:
    app.create_page("Page 2", "page-2")
    app.create_page("Page 3", "page-3")
    before = recorded(app)
    with pytest.raises(SlugConflictError, match="page-3"):
        app.update_slug("page-2", "page-3")
    with pytest.raises(SlugConflictError, match="page-3"):
        app.create_page("Another", "page-3")
    assert recorded(app) == before
    assert app.get_page_by_slug("page-2")["title"] == "Page 2"


def test_a_slug_that_was_given_up_can_be_used_again(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    app.update_slug("welcome", "hello")
    with pytest.raises(PageNotFoundError):
        app.get_page_by_slug("welcome")
    entry: Slug = app.repository.get(Slug.create_id("welcome"))
    assert entry.page_id is None

    app.update_slug("hello", "welcome")
    assert app.get_page_by_slug("welcome")["title"] == "Welcome"
    app.create_page("Another", "hello")
    assert app.get_page_by_slug("hello")["title"] == "Another"


def test_a_change_to_the_same_value_is_recorded_with_its_user(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    app.update_body("welcome", "Hello!")
    for command, value in [
        (app.update_title, "Welcome"),
        (app.update_slug, "welcome"),
        (app.update_body, "Hello!"),
    ]:
        with user() as user_id:
            position = command("welcome", value)
        assert app.get_page_by_slug("welcome") == {
            "title": "Welcome",
            "slug": "welcome",
            "body": "Hello!",
            "modified_by": user_id,
        }
    event = recorded(app)[position]
    assert isinstance(event, Page.BodyUpdated)
    assert event.diff == ""


def test_every_new_page_is_in_the_log_of_pages(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    logged = [event for event in recorded(app).values() if isinstance(event, PageLogged)]
    assert [event.page_id for event in logged] == [page_id(app, "welcome")]


def test_of_two_writers_at_once_one_is_told(app: ContentManagement) -> None:
    app.create_page("Welcome", "welcome")
    first: Page = app.repository.get(page_id(app, "welcome"))
    second: Page = app.repository.get(page_id(app, "welcome"))
    first.update_body("first")
    second.update_body("second")
    app.save(first)
    with pytest.raises(IntegrityError):
        app.save(second)
    assert app.get_page_by_slug("welcome")["body"] == "first"


@pytest.mark.parametrize("name", ["", " \t\n", "a\0b", "\udc80", "x" * 513])
def test_a_title_or_slug_that_cannot_be_carried_is_refused(
    app: ContentManagement, name: str
) -> None:
    app.create_page("Welcome", "welcome")
    before = recorded(app)
    refused: list[Callable[[], int]] = [
        lambda: app.create_page(name, "new"),
        lambda: app.create_page("New", name),
        lambda: app.update_title("welcome", name),
        lambda: app.update_slug("welcome", name),
    ]
    for command in refused:
        with pytest.raises(InvalidPageError, match=r"empty|NUL|surrogate|513"):
            command()
    assert recorded(app) == before
