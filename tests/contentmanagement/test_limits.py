"""What can't be carried to every view is refused before anything is recorded."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.contentmanagement.application import (
    ContentManagement,
    InvalidPageError,
)
from eventsourcing_kafka.producer.contentmanagement.diff import create_diff
from eventsourcing_kafka.producer.contentmanagement.limits import Limits

IN_MEMORY = {"PERSISTENCE_MODULE": "eventsourcing.popo"}


def wiki(**settings: str) -> ContentManagement:
    app = ContentManagement(IN_MEMORY | settings)
    app.create_page("Welcome", "welcome")
    return app


def positions(app: ContentManagement) -> int | None:
    return app.recorder.max_notification_id()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("x" * 400_001, "400,001 bytes of UTF-8"),
        ("é" * 200_001, "400,002 bytes of UTF-8"),
        ("hello\0", "NUL character at 5"),
        ("a\ud800", "lone surrogate at 1"),
        ("\x01" * 200_000, "as a diff in JSON"),
    ],
)
def test_a_body_that_cannot_be_carried_is_refused(body: str, words: str) -> None:
    app = wiki()
    before = positions(app)
    with pytest.raises(InvalidPageError, match=words):
        app.update_body("welcome", body)
    assert positions(app) == before
    assert app.get_page_by_slug("welcome")["body"] == ""


def test_a_body_as_long_as_the_limit_is_accepted_and_replaced() -> None:
    app = wiki()
    for letter in "ab":
        body = (letter * 79 + "\n") * 5_000
        app.update_body("welcome", body)
        assert app.get_page_by_slug("welcome")["body"] == body


def test_the_limit_of_bodies_is_configured() -> None:
    app = wiki(CONTENTMANAGEMENT_MAX_BODY_BYTES="10")
    app.update_body("welcome", "0123456789")
    with pytest.raises(InvalidPageError, match="more than 10"):
        app.update_body("welcome", "0123456789a")


@pytest.mark.parametrize("setting", ["0", "-1", "1e6", "many"])
def test_a_limit_that_is_no_number_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="MAX_BODY_BYTES must be a positive whole number"):
        ContentManagement(IN_MEMORY | {"CONTENTMANAGEMENT_MAX_BODY_BYTES": setting})


def test_a_change_too_large_for_one_event_can_be_made_in_two() -> None:
    app = wiki()
    app.update_body("welcome", "\x01\n" * 85_000)
    before = positions(app)
    with pytest.raises(InvalidPageError, match="empty the body first"):
        app.update_body("welcome", "\x02\n" * 85_000)
    assert positions(app) == before
    app.update_body("welcome", "")
    app.update_body("welcome", "\x02\n" * 85_000)


def test_a_refused_command_leaves_nothing_behind_in_the_cache() -> None:
    app = wiki(AGGREGATE_CACHE_MAXSIZE="10", DEEPCOPY_FROM_AGGREGATE_CACHE="n")
    app.create_page("Other", "other")
    app.update_body("welcome", "\x01\n" * 85_000)
    before = app.get_page_by_slug("welcome")
    refused: list[Callable[[], int]] = [
        lambda: app.update_slug("welcome", "other"),
        lambda: app.update_slug("welcome", ""),
        lambda: app.update_title("welcome", ""),
        lambda: app.update_body("welcome", "\0"),
        lambda: app.update_body("welcome", "\x02\n" * 85_000),
    ]
    for command in refused:
        with pytest.raises(Exception, match=r"other|empty|NUL"):
            command()
    assert app.get_page_by_slug("welcome") == before
    app.update_title("welcome", "Hello")
    assert app.get_page_by_slug("welcome") == before | {"title": "Hello"}


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_every_accepted_body_can_be_filled_in_and_emptied_in_one_event(body: str) -> None:
    diffs = [create_diff("", body), create_diff(body, "")]
    largest = max(len(msgspec.json.encode(diff)) for diff in diffs)
    with pytest.raises(InvalidPageError):
        Limits(diff_bytes=largest - 1).check_body(body)
