"""Searching the view in Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psycopg
import pytest

from eventsourcing_kafka.consumer.engine.store import ShapeChangedError, ViewMissingError
from eventsourcing_kafka.consumer.views.fts import search as searching
from eventsourcing_kafka.consumer.views.fts.search import (
    START,
    STOP,
    Searcher,
    SearchTooLongError,
    search,
)
from tests.pipeline import WithoutKafka, page_id, pages_of, write_page

HOSTILE = [
    "",
    " ",
    "!@#$%^&*()",
    '"',
    '"""',
    "' OR 1=1; DROP TABLE pages; --",
    "rose & | ! <-> :* ( zebra",
    "to_tsquery('x')",
    "%s %(query)s {schema}",
    "OR OR OR",
    "-",
    "- -- ---rose",
    "\\",
    "\u202e\u0301",
    "word " * 2000,
    "x" * 10_000,
]

END_OTHERS = """
    SELECT pg_terminate_backend(pid)
      FROM pg_stat_activity
     WHERE datname = current_database()
       AND application_name = 'fts'
       AND pid <> pg_backend_pid()
"""


@asynccontextmanager
async def filled(environment: dict[str, str], **bodies: str) -> AsyncIterator[WithoutKafka]:
    """Make a view of pages with these slugs and bodies."""
    async with WithoutKafka(environment) as shortcut:
        for slug, body in bodies.items():
            write_page(shortcut.wiki, slug, body)
        await shortcut.catch_up()
        yield shortcut


async def found(shortcut: WithoutKafka, query: str) -> list[str]:
    return [result.slug for result in await search(shortcut.store, query)]


async def test_a_match_in_the_title_ranks_over_many_in_the_body(
    environment: dict[str, str],
) -> None:
    async with filled(environment, a="rose rose rose rose", rose="a flower") as shortcut:
        assert await found(shortcut, "rose") == ["rose", "a"]


async def test_the_query_language_is_that_of_web_searches(environment: dict[str, str]) -> None:
    bodies = {"a": "red rose", "b": "rose, not red", "c": "blue zebra"}
    async with filled(environment, **bodies) as shortcut:
        assert await found(shortcut, '"red rose"') == ["a"]
        assert set(await found(shortcut, "red rose")) == {"a", "b"}
        assert set(await found(shortcut, "zebra OR rose")) == {"a", "b", "c"}
        assert await found(shortcut, "rose -red") == []
        assert set(await found(shortcut, "-zebra")) == {"a", "b"}


async def test_snippets_and_titles_are_marked_around_what_matched(
    environment: dict[str, str],
) -> None:
    async with filled(environment, roses="word " * 100 + "a rose " + "word " * 100) as shortcut:
        (result,) = await search(shortcut.store, "roses")
        assert result.title_marked == f"{START}Roses{STOP}"
        assert f"a {START}rose{STOP} word" in result.snippet
        assert len(result.snippet) < 200


async def test_results_are_paged_without_a_gap_or_an_overlap(environment: dict[str, str]) -> None:
    bodies = {f"page{number}": "rose" for number in range(7)}
    async with filled(environment, **bodies) as shortcut:
        pages = [await search(shortcut.store, "rose", limit=3, offset=at) for at in (0, 3, 6, 9)]
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert {result.slug for page in pages for result in page} == set(bodies)


async def test_of_too_many_pages_some_are_ranked_and_those_with_a_title_that_matches(
    environment: dict[str, str],
) -> None:
    bodies = {f"page{number}": "rose" for number in range(6)}
    async with filled(environment, **bodies, rose="a flower") as shortcut:
        pages = [
            await search(shortcut.store, "rose", limit=2, offset=at, most_ranked=3)
            for at in (0, 2, 4)
        ]
        # The page with the title may be one of the three as well.
        assert [len(page) for page in pages] in ([2, 1, 0], [2, 2, 0])
        assert pages[0][0].slug == "rose"
        assert len({result.id for page in pages for result in page}) == sum(map(len, pages))
        assert {result.matches for page in pages for result in page} == {3}


async def test_how_many_pages_match_is_told(environment: dict[str, str]) -> None:
    bodies = {"a": "rose", "b": "rose", "rose": "rose", "d": "zebra"}
    async with filled(environment, **bodies) as shortcut:
        (result,) = await search(shortcut.store, "rose", limit=1, offset=2)
        assert result.matches == 3


async def test_what_a_page_is_to_be_without_is_looked_for_behind_its_title(
    environment: dict[str, str],
) -> None:
    async with filled(environment, rose="red", zebra="rose") as shortcut:
        assert await found(shortcut, "rose -red") == ["zebra"]
        assert await found(shortcut, "-red") == ["zebra"]


async def test_a_snippet_is_cut_where_a_long_body_matches(environment: dict[str, str]) -> None:
    async with filled(environment, a="word " * 9000 + "a rose " + "word " * 9000) as shortcut:
        (result,) = await search(shortcut.store, "rose")
        assert f"a {START}rose{STOP} word" in result.snippet


async def test_a_search_that_takes_too_long_is_ended(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(searching.SESSION, "statement_timeout", "100ms")
    async with filled(environment, a="rose") as shortcut, shortcut.connection.transaction():
        await shortcut.sql("LOCK TABLE {schema}.pages IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SearchTooLongError, match="fewer pages"):
            await search(shortcut.store, "rose")


async def test_a_searcher_shares_its_connections_and_replaces_those_that_are_lost(
    environment: dict[str, str],
) -> None:
    async with (
        filled(environment, a="rose") as shortcut,
        Searcher(shortcut.store, connections=2) as searcher,
    ):
        expected = await search(shortcut.store, "rose")

        async def repeat() -> None:
            for _ in range(5):
                assert await searcher.search("rose") == expected

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(repeat)
        ended = await shortcut.connection.execute(END_OTHERS)
        assert 1 <= ended.rowcount <= 2
        assert await searcher.search("rose") == expected


@pytest.mark.parametrize(
    ("language", "expected"), [("german", ["haus"]), ("english", []), ("simple", [])]
)
async def test_words_are_stemmed_in_the_language_set(
    environment: dict[str, str], language: str, expected: list[str]
) -> None:
    async with filled(environment | {"FTS_LANGUAGE": language}, haus="Die Häuser") as shortcut:
        assert await found(shortcut, "häusern") == expected


async def test_an_unknown_language_is_an_error_that_names_it(environment: dict[str, str]) -> None:
    with pytest.raises(psycopg.errors.UndefinedObject, match="klingon"):
        async with WithoutKafka(environment | {"FTS_LANGUAGE": "klingon"}):
            pass


async def test_tables_made_with_other_settings_are_not_used(environment: dict[str, str]) -> None:
    async with WithoutKafka(environment):
        pass
    async with WithoutKafka(environment):
        pass
    with pytest.raises(ShapeChangedError, match="fts"):
        async with WithoutKafka(environment | {"FTS_LANGUAGE": "german"}):
            pass


async def test_no_query_is_an_error_of_the_database(environment: dict[str, str]) -> None:
    async with filled(environment, a="rose") as shortcut:
        for query in HOSTILE:
            results = await search(shortcut.store, query)
            assert isinstance(results, list), query
        assert await found(shortcut, "rose") == ["a"]


@pytest.mark.parametrize(("query", "reason"), [("a\0b", "NUL"), ("a\ud800b", "surrogate")])
async def test_a_query_that_no_page_could_hold_is_refused(
    environment: dict[str, str], query: str, reason: str
) -> None:
    async with filled(environment) as shortcut:
        with pytest.raises(ValueError, match=reason):
            await search(shortcut.store, query)


async def test_a_search_before_any_consumer_ran_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ViewMissingError, match="consumer run fts"):
        await search(WithoutKafka(environment).store, "rose")


async def test_a_body_too_long_to_index_is_stored_whole_and_found_by_its_early_words(
    environment: dict[str, str],
) -> None:
    body = " ".join(f"word{number:x}" for number in range(100_000))
    assert len(body) > 900_000
    async with filled(environment, long=body) as shortcut:
        assert await shortcut.pages() == pages_of(shortcut.wiki)
        assert await found(shortcut, "word1 word2 wordff") == ["long"]
        assert await found(shortcut, "long") == ["long"]


async def test_changes_of_title_and_slug_are_followed(environment: dict[str, str]) -> None:
    async with filled(environment, rose="a flower") as shortcut:
        shortcut.wiki.update_title("rose", "Zebra")
        shortcut.wiki.update_slug("rose", "zebra")
        await shortcut.catch_up()
        assert await found(shortcut, "rose") == []
        (result,) = await search(shortcut.store, "zebra")
        assert (result.slug, result.title) == ("zebra", "Zebra")
        assert result.id == page_id(shortcut.wiki, "zebra")
