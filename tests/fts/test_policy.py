"""What an event does to a page of the search view."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from eventsourcing_kafka.consumer.unit_of_work import Event, OutOfOrderError
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo, policy
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.diff import DiffError
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page, Slug


def story(*bodies: str) -> list[Event]:
    """Return the events of a page that is created, and then written."""
    page = Page("Title", "slug", "")
    for body in bodies:
        page.update_body(body)
    return list(page.collect_events())


def told(events: Sequence[Event]) -> PageInfo | None:
    page = None
    for event in events:
        page = policy(event, page) or page
    return page


def test_a_created_page_has_version_one_and_what_it_was_created_with() -> None:
    page = Page("Title", "slug", "body\n")
    (created,) = page.collect_events()
    assert policy(created, None) == PageInfo(page.id, 1, "slug", "Title", "body\n")


def test_each_event_changes_what_it_is_about_and_counts_as_a_version() -> None:
    page = Page("Title", "slug", "")
    page.update_title("Other")
    page.update_slug("other")
    page.update_body("text")
    events = list(page.collect_events())
    assert [told(events[:count]) for count in (2, 3, 4)] == [
        PageInfo(page.id, 2, "slug", "Other", ""),
        PageInfo(page.id, 3, "other", "Other", ""),
        PageInfo(page.id, 4, "other", "Other", "text"),
    ]


def test_the_page_before_the_event_is_left_as_it_was() -> None:
    created, updated = story("text")
    before = policy(created, None)
    assert before
    assert policy(updated, before) != before
    assert before.body == ""


def test_an_event_that_the_search_does_not_show_still_counts_as_a_version() -> None:
    created, *_ = story()
    before = policy(created, None)
    unshown = Page.Event(
        originator_id=created.originator_id,
        originator_version=2,
        timestamp=Page.Event.create_timestamp(),
    )
    assert before
    assert policy(unshown, before) == before._replace(version=2)


def test_events_of_slugs_and_of_the_log_are_not_about_a_page() -> None:
    slug = Slug("slug", page_id=uuid4())
    slug.update_page(None)
    assert [policy(event, None) for event in slug.collect_events()] == [None, None]
    with ContentManagement() as wiki:
        logged = wiki.page_log.trigger_event(page_id=uuid4())
    assert policy(logged, None) is None


def test_an_event_that_comes_twice_is_out_of_order() -> None:
    created, updated = story("text")
    with pytest.raises(OutOfOrderError, match=r"is version 2 of .* the view has version 2"):
        told([created, updated, updated])


def test_an_event_after_a_missing_one_is_out_of_order() -> None:
    created, _, updated = story("one", "two")
    with pytest.raises(OutOfOrderError, match=r"is version 3 of .* the view has version 1"):
        told([created, updated])


def test_a_page_that_was_never_created_takes_no_update() -> None:
    _, updated = story("text")
    with pytest.raises(OutOfOrderError, match="the view has version 0"):
        policy(updated, None)
    vars(updated)["originator_version"] = 1
    with pytest.raises(OutOfOrderError):
        policy(updated, None)


def test_a_page_is_not_created_twice() -> None:
    created, *_ = story()
    page = policy(created, None)
    with pytest.raises(OutOfOrderError):
        policy(created, page)
    vars(created)["originator_version"] = 2
    with pytest.raises(OutOfOrderError):
        policy(created, page)


def test_a_diff_that_does_not_fit_the_body_is_an_error() -> None:
    created, first, second = story("one\n", "two\n")
    before = told([created, first])
    assert before
    with pytest.raises(DiffError):
        policy(second, before._replace(body="another text\n"))
