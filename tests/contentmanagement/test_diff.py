"""Properties of diffs, held against the programs `diff` and `patch`."""

import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.producer.contentmanagement.diff import DiffError, apply_diff, create_diff

needs_programs = pytest.mark.skipif(
    not (shutil.which("diff") and shutil.which("patch")),
    reason="the programs `diff` and `patch` are not installed",
)

AWKWARD_LINES = [
    "", " ", "a", "b", "é", "𝄞", "a\r", "\r", "a\rb", "a\fb", "a\vb", "a\u2028b", "a\x85b",
    "---", "--- a", "+++ b", "*** c", "1a1", "1,2c3,4", "0a1", "2d1", "< a", "> b", "<", ">", ".",
    "\\ No newline at end of file", "\\", "\\ ", "diff --git a b", "@@ -1 +1 @@", "Index: x",
    "w", "q", "\ufeff", "s/.//", "Only in a: b", "\t", "%", "\x1b[31m", "\x01",
]  # fmt: skip
lines = st.one_of(
    st.sampled_from(AWKWARD_LINES),
    st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=6),
)
texts = st.builds(
    lambda body, last: "".join(f"{line}\n" for line in body) + last,
    st.lists(lines, max_size=12),
    st.one_of(st.just(""), lines),
)


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str]:
    """A text, and what a few edits made of it; or just two texts."""
    old = draw(texts)
    if draw(st.booleans()):
        return old, draw(texts)
    new = old.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(new)))
        new[at : at + draw(st.integers(0, 2))] = draw(st.lists(lines, max_size=2))
    return old, "\n".join(new)


def run_diff(old: str, new: str) -> str:
    with TemporaryDirectory() as folder:
        a, b = Path(folder, "a"), Path(folder, "b")
        a.write_bytes(old.encode())
        b.write_bytes(new.encode())
        # --text: a control character is not a reason to say only that binary files differ.
        command: list[str | Path] = ["diff", "--text", a, b]
        result = subprocess.run(command, capture_output=True, check=False, env={"LC_ALL": "C"})
        assert result.returncode in (0, 1), result.stderr
        return result.stdout.decode()


def run_patch(old: str, diff: str) -> str:
    with TemporaryDirectory() as folder:
        a, patch, b = Path(folder, "a"), Path(folder, "patch"), Path(folder, "b")
        a.write_bytes(old.encode())
        patch.write_bytes(diff.encode())
        # --binary: or carriage returns are stripped from a patch whose every line has one.
        # --normal: or a line of the text that looks like another format's header is one.
        command: list[str | Path] = [
            "patch",
            "--binary",
            "--normal",
            "--silent",
            "--force",
            "-o",
            b,
            a,
            patch,
        ]
        result = subprocess.run(command, capture_output=True, check=False, cwd=folder)
        assert result.returncode == 0, (result.stdout, result.stderr)
        return b.read_bytes().decode()


@given(edits())
def test_a_diff_applied_to_the_old_text_gives_the_new_one(edit: tuple[str, str]) -> None:
    old, new = edit
    assert apply_diff(old, create_diff(old, new)) == new


@needs_programs
@pytest.mark.usefixtures("programs")
@given(edits())
@settings(max_examples=200, deadline=None)
def test_what_the_program_diff_writes_is_applied(edit: tuple[str, str]) -> None:
    old, new = edit
    assert apply_diff(old, run_diff(old, new)) == new


@needs_programs
@pytest.mark.usefixtures("programs")
@given(edits())
@settings(max_examples=200, deadline=None)
@example(("a", "a\n"))
@example(("a\n", "a"))
@example(("a", "b"))
@example(("", "a"))
@example(("a", ""))
@example(("a\r\n", "b\r\n"))
def test_what_is_written_here_the_program_patch_applies(edit: tuple[str, str]) -> None:
    old, new = edit
    diff = create_diff(old, new)
    assume(diff)  # `patch` finds only garbage in an empty one
    assert run_patch(old, diff) == new


@needs_programs
@pytest.mark.usefixtures("programs")
@given(edits(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_diff_is_refused_or_means_the_same_to_patch(
    edit: tuple[str, str], data: st.DataObject
) -> None:
    old, new = edit
    damaged = create_diff(old, new).split("\n")
    at = data.draw(st.integers(0, len(damaged) - 1))
    line = data.draw(st.one_of(st.sampled_from(damaged), lines, st.from_regex(r"\A\d[acd]\d\Z")))
    damaged[at : at + data.draw(st.integers(0, 2))] = [line]
    diff = "\n".join(damaged)
    try:
        applied = apply_diff(old, diff)
    except DiffError:
        return
    assert run_patch(old, diff) == applied if diff else applied == old


@given(edits(), st.data())
def test_a_diff_without_one_of_its_lines_is_refused(
    edit: tuple[str, str], data: st.DataObject
) -> None:
    old, new = edit
    diff = create_diff(old, new).split("\n")[:-1]
    # Only a notice can be missed unnoticed: the new text would end with a newline as well.
    kept = [at for at, line in enumerate(diff) if not line.startswith("\\")]
    assume(kept)
    del diff[data.draw(st.sampled_from(kept))]
    shortened = "".join(f"{line}\n" for line in diff)
    with pytest.raises(DiffError):
        apply_diff(old, shortened)


@given(edits(), st.data())
def test_a_diff_cut_short_in_a_line_is_refused(edit: tuple[str, str], data: st.DataObject) -> None:
    old, new = edit
    diff = create_diff(old, new)
    cuts = [at for at in range(1, len(diff)) if diff[at - 1] != "\n"]
    assume(cuts)
    with pytest.raises(DiffError):
        apply_diff(old, diff[: data.draw(st.sampled_from(cuts))])


@given(edits(), st.data())
def test_a_diff_is_refused_by_a_text_without_the_lines_it_removes(
    edit: tuple[str, str], data: st.DataObject
) -> None:
    old, new = edit
    diff = create_diff(old, new)
    removed = [line[2:] for line in diff.split("\n") if line.startswith("< ")]
    assume(removed)
    lost = data.draw(st.sampled_from(removed))
    other = "\n".join("something else" if line == lost else line for line in old.split("\n"))
    with pytest.raises(DiffError):
        apply_diff(other, diff)


def test_no_change_is_an_empty_diff() -> None:
    assert create_diff("a\n", "a\n") == ""
    assert create_diff("", "") == ""
    assert apply_diff("a\n", "") == "a\n"


def test_a_diff_reads_as_the_program_writes_it() -> None:
    old = "one\ntwo\nthree\nfour\nfive"
    new = "zero\none\n2\n2.5\nthree\nfive\n"
    assert create_diff(old, new) == (
        "0a1\n> zero\n"
        "2c3,4\n< two\n---\n> 2\n> 2.5\n"
        "4,5c6\n< four\n< five\n\\ No newline at end of file\n---\n> five\n"
    )


def test_a_nul_character_is_a_character_like_any_other() -> None:
    assert apply_diff("a\0\nb\n", create_diff("a\0\nb\n", "a\0\nc\n")) == "a\0\nc\n"


def test_the_notice_of_a_missing_newline_may_be_in_any_language() -> None:
    diff = "1c1\n< a\n\\ Kein Zeilenumbruch am Dateiende.\n---\n> b\n"
    assert apply_diff("a", diff) == "b\n"


@pytest.mark.parametrize(
    ("diff", "where"),
    [
        ("garbage\n", "line 1: not a command"),
        ("1,2a3\n> x\n", "line 1: a range"),
        ("1d0,1\n< a\n", "line 1: a range"),
        ("0c1\n< a\n---\n> x\n", "line 1: not a range"),
        ("2,1c1\n---\n> x\n", "line 1: not a range"),
        ("1c1\n< a\n> x\n", "line 3: '---' is missing"),
        ("1c1\n> a\n---\n> x\n", "line 2: not marked '< '"),
        ("1c1\n< a\n---\n> x", "line 4: cut short"),
        ("1,2d0\n< a\n", "line 3: the diff ends too early"),
        ("1d0\n< b\n", "line 1: the lines to remove"),
        ("1d0\n< a\n\\ No newline at end of file\n", "line 1: the lines to remove"),
        ("4d3\n< c\n", "line 1: the lines to remove"),
        ("9a10\n> x\n", "line 1: old lines"),
        ("2d1\n< b\n1d0\n< a\n", "line 3: old lines"),
        ("1a3\n> x\n", "line 1: new lines"),
        ("1d0\n< a\n\n", "line 3: not a command"),
        ("1a2\n> x\n\\ No newline at end of file\n", "would not be the last"),
        (f"1{'0' * 5000}d0\n< a\n", "line 1: not a command"),
        ("٣d2\n< c\n", "line 1: not a command"),
    ],
)
def test_a_diff_that_does_not_fit_says_where(diff: str, where: str) -> None:
    with pytest.raises(DiffError, match=where):
        apply_diff("a\nb\nc\n", diff)


def test_nothing_is_added_after_a_last_line_without_a_newline() -> None:
    with pytest.raises(DiffError, match="would not be the last"):
        apply_diff("a", "1a2\n> b\n")


def test_a_lone_surrogate_has_no_diff() -> None:
    with pytest.raises(UnicodeEncodeError):
        create_diff("", "\ud800")


ALTERNATING = "a\nb\n" * 100_000
DISTINCT = "".join(f"{number}\n" for number in range(60_000))


@pytest.mark.parametrize(
    ("old", "new", "most_seconds"),
    [
        pytest.param(DISTINCT * 3, DISTINCT * 3 + "x", 0.5, id="one line more in a megabyte"),
        pytest.param("x" * 1_000_000, "x" * 999_999, 0.5, id="one huge line"),
        pytest.param(ALTERNATING, "b\na\n" * 100_000, 5, id="lines swapped in pairs"),
        pytest.param("a\n" * 200_000, "b\n" * 200_000, 5, id="nothing in common"),
        pytest.param(
            "".join("ab"[(n * n) % 7 % 2] + "\n" for n in range(200_000)),
            "".join("ab"[(n * n) % 11 % 2] + "\n" for n in range(200_000)),
            5,
            id="two distinct lines, irregular",
        ),
        pytest.param(DISTINCT, "\n".join(sorted(DISTINCT.split("\n"))), 5, id="lines sorted"),
    ],
)
def test_no_text_takes_long(old: str, new: str, most_seconds: float) -> None:
    started = time.process_time()
    diff = create_diff(old, new)
    assert apply_diff(old, diff) == new
    assert time.process_time() - started < most_seconds
