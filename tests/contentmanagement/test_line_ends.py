"""What was not edited stays as it was, whatever an editor does to the ends of lines."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.producer.contentmanagement.diff import create_diff
from eventsourcing_kafka.producer.contentmanagement.line_ends import with_line_ends_of

LINES = st.sampled_from(["one", "two", "", " trailing  ", "\t", "größe", "\x0b\u2028"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
TEXTS = st.builds(
    lambda lines, last: "".join(line + end for line, end in lines) + last,
    st.lists(st.tuples(LINES, ENDS), max_size=12),
    LINES,
)


def as_edited(text: str) -> str:
    """Return a text as a browser has it."""
    return re.sub(r"\r\n|\r", "\n", text)


@given(TEXTS)
@example("\r\r\n\n\r")
@example("one\r")
def test_a_text_that_was_not_edited_stays_as_it_was(text: str) -> None:
    assert with_line_ends_of(text, as_edited(text)) == text


@given(TEXTS, TEXTS)
@example("one\rone\none", "one\n\none")
@settings(max_examples=500)
def test_what_was_typed_is_there_but_for_the_ends_of_lines(old: str, new: str) -> None:
    edited = as_edited(new)
    assert as_edited(with_line_ends_of(old, edited)) == edited


@given(TEXTS, st.data())
def test_a_change_of_one_word_is_a_diff_of_one_line(text: str, data: st.DataObject) -> None:
    lines = re.split(r"(\r\n|\r|\n)", text)
    number = data.draw(st.integers(0, len(lines) // 2))
    lines[2 * number] += "another"
    assert with_line_ends_of(text, as_edited("".join(lines))) == "".join(lines)
    diff = create_diff(text, "".join(lines))
    # To a diff a carriage return alone is a character within a line.
    assert len(re.findall(r"^> .*\n", diff, re.MULTILINE)) <= 1


@pytest.mark.parametrize(
    ("old", "edited", "expected"),
    [
        ("a\r\nb\r\n", "a\nnew\nb\n", "a\r\nnew\r\nb\r\n"),
        ("a\r\nb\r\nc\n", "a\nnew\nb\nc\n", "a\r\nnew\r\nb\r\nc\n"),
        ("a\r\nb\nc\r\n", "A\nB\nC\nd\n", "A\r\nB\nC\r\nd\r\n"),
        ("a\r\nb", "a\nb\nc", "a\r\nb\r\nc"),
        ("a\nb\n", "a\nb\nc\n", "a\nb\nc\n"),
        ("", "a\nb", "a\nb"),
        ("a\r\n", "", ""),
    ],
)
def test_a_new_line_ends_as_those_around_it(old: str, edited: str, expected: str) -> None:
    assert with_line_ends_of(old, edited) == expected
