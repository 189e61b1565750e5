"""Searching the view in Postgres."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from consumer.fts.search import START, STOP, search
from consumer.store import ShapeChangedError, ViewMissingError
from tests.pipeline import Shortcut, page_id, pages_of, write_page

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


@asynccontextmanager
async def filled(environment: dict[str, str], **bodies: str) -> AsyncIterator[Shortcut]:
    """Make a view of pages with these slugs and bodies."""
    async with Shortcut(environment) as shortcut:
        for slug, body in bodies.items():
            write_page(shortcut.wiki, slug, body)
        await shortcut.catch_up()
        yield shortcut


async def found(shortcut: Shortcut, query: str) -> list[str]:
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
        async with Shortcut(environment | {"FTS_LANGUAGE": "klingon"}):
            pass


async def test_tables_made_with_other_settings_are_not_used(environment: dict[str, str]) -> None:
    async with Shortcut(environment):
        pass
    async with Shortcut(environment):
        pass
    with pytest.raises(ShapeChangedError, match="fts"):
        async with Shortcut(environment | {"FTS_LANGUAGE": "german"}):
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
        await search(Shortcut(environment).store, "rose")


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
