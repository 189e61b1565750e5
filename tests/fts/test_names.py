"""What people type is found: file names, versions, addresses, and words that no space parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.consumer.views.fts.parts import parts_of, read_query
from eventsourcing_kafka.consumer.views.fts.search import START, STOP, search

from .test_search import filled, found

PAGES = {
    "path": "It is in src/compose/stack.py, near the end.",
    "version": "Since v1.2.3 it is quick.",
    "other": "Since v1.3.2 and 2.3.1 it is quick.",
    "python": "It needs python3.11 or newer.",
    "address": "Read <https://docs.example.org/guide/first-steps?lang=en#top>, or [this](http://localhost:8000/a_b).",
    "identifier": "class GitImporter: def find_remaining(self): return HTTPServer()",
    "japanese": "全文検索で日本語を検索する。",
    "thai": "ภาษาไทยไม่มีช่องว่าง",
    "korean": "서울에서 만나요",
    "mail": "Write to ann.arbor@example.org!",
    "src/consumer/Tool.py": "empty",
    "many": " ".join(f"v1.{number}.0" for number in range(2000)) + " in the end 1.2000.7",
    "long": "w " * 30_000 + "and then notes/todo.txt",
}

FOUND = {
    "stack.py": ["path"],
    "compose/stack.py": ["path"],
    "src/compose/stack.py": ["path"],
    "src/compose": ["path"],
    "STACK.PY": ["path"],
    '"stack.py"': ["path"],
    "stack": ["path"],
    "1.2.3": ["version"],
    "v1.2.3": ["version"],
    "v1.2": ["many", "version"],
    "3.11": ["python"],
    "python": ["python"],
    "https://docs.example.org/guide/first-steps?lang=en#top": ["address"],
    "docs.example.org/guide": ["address"],
    "docs.example.org": ["address"],
    "first-steps": ["address"],
    "first-step": ["address"],
    "http://localhost:8000/a_b": ["address"],
    "localhost:8000": ["address"],
    "importer": ["identifier"],
    "gitimporter": ["identifier"],
    "GitImporter": ["identifier"],
    "find_remaining": ["identifier"],
    "remaining": ["identifier"],
    "server": ["identifier"],
    "日本語": ["japanese"],
    "日本": ["japanese"],
    "検索": ["japanese"],
    "本": ["japanese"],
    "日本 検索": ["japanese"],
    "ไทย": ["thai"],
    "서울": ["korean"],
    "ann.arbor@example.org": ["mail"],
    "example.org -docs.example.org": ["mail"],
    "tool.py": ["src/consumer/Tool.py"],
    "consumer/tool.py": ["src/consumer/Tool.py"],
    "1.2000.7": ["many"],
    "v1.1999.0": ["many"],
    "todo.txt": ["long"],
    "stack.py OR 1.2.3": ["path", "version"],
    "quick -1.2.3": ["other"],
    "9.9.9": [],
    "nothing.py": [],
    "語日": [],
}


async def test_names_are_found_by_their_parts_and_marked(environment: dict[str, str]) -> None:
    async with filled(environment, **PAGES) as shortcut:
        assert {query: sorted(await found(shortcut, query)) for query in FOUND} == FOUND
        for query in ("stack.py", "1.2.3", "日本語", "localhost:8000", "todo.txt"):
            (result,) = await search(shortcut.store, query)
            assert f"{START}{query}{STOP}" in result.snippet, query


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_has_parts_and_can_be_a_query(text: str) -> None:
    assert "\n" not in parts_of(text)
    assert isinstance(read_query(text).text, str)


NAMES = st.lists(st.sampled_from(["src", "v1", "2", "GitImporter", "日本語", "größe"]), min_size=2)


@given(NAMES, st.sampled_from("./:_@#"), st.data())
def test_a_run_of_parts_of_a_name_finds_it(
    parts: list[str], separator: str, data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(parts) - 2))
    end = data.draw(st.integers(begin + 2, len(parts)))
    typed = separator.join(parts[begin:end])
    for query in (typed, typed.lower()):
        wanted = set(read_query(query).text.split())
        assert wanted <= set(parts_of(f"see {separator.join(parts)}, then").split())


@pytest.mark.parametrize("word", ["word", "Word", "WORD", "größe", "don't", "C++"])
def test_a_word_is_searched_for_as_it_is(word: str) -> None:
    assert read_query(word) == (word, [])
