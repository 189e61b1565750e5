"""What was not edited in a browser stays, and changes are shown at the times of their making."""

import re
from datetime import UTC, datetime

import pytest

from eventsourcing_kafka.producer.contentmanagement.domainmodel import occurred_at_cvar

from .browser import served, text_of

TEXT = "# Title\r\n\r\ntrailing blanks  \r\nunix\nlast line, without an end"


def as_a_browser_sends(text: str) -> str:
    return re.sub(r"\r\n|\r|\n", "\r\n", text)


@pytest.mark.parametrize("text", [TEXT, f"\n{TEXT}\r\n\r\n", TEXT.replace("\r\n", "\n")])
async def test_a_word_edited_in_a_browser_is_a_diff_of_one_line(
    environment: dict[str, str], text: str
) -> None:
    async with served(environment) as (pipeline, ann, bob):
        wiki = pipeline.wiki
        await pipeline.do(wiki.create_page, "Mixed", "mixed")
        await pipeline.do(wiki.update_body, "mixed", text)
        edited = text.replace("trailing", "lasting")
        await ann.submit("/edit/mixed", body=as_a_browser_sends(edited))
        assert wiki.get_page_by_slug("mixed")["body"] == edited
        (event,) = wiki.events.get(wiki.get_page_id("mixed"), desc=True, limit=1)
        assert event.diff.count("\n> ") == 1  # type: ignore[attr-defined]
        # Of what two have edited the difference is as small.
        again = edited.replace("lasting", "other")
        stale = await bob.get("/edit/mixed")
        await pipeline.do(wiki.update_body, "mixed", edited.replace("Title", "Name"))
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', stale.text))
        fields = dict(re.findall(r'name="(page|version)" value="([^"]+)"', stale.text))
        conflict = await bob.client.post(
            "/edit/mixed", data={"token": token, **fields, "body": as_a_browser_sends(again)}
        )
        assert conflict.status_code == 409
        assert conflict.text.count("<ins") == 2


async def test_an_imported_change_is_shown_at_the_time_of_its_commit(
    environment: dict[str, str],
) -> None:
    async with served(environment) as (pipeline, ann, _):
        token = occurred_at_cvar.set(datetime(1938, 5, 17, 12, tzinfo=UTC))
        try:
            pipeline.wiki.create_page("Old", "old")
            position = pipeline.wiki.update_body("old", "an old text\n")
        finally:
            occurred_at_cvar.reset(token)
        assert position
        await pipeline.settled()
        assert "changed 17 May 1938 by" in " ".join(text_of(await ann.get("/wiki/old")).split())
        assert "1938-05-17 12:00:00 UTC" in (await ann.get("/history/old")).text
        assert "1938-05-17 12:00:00 UTC" in (await ann.get("/earlier/2/old")).text
        assert "17 May 1938" in text_of(await ann.get("/"))
        answer = (await ann.get("/api/history/old")).json()
        assert {change["changed_at"] for change in answer["changes"]} == {"1938-05-17T12:00:00Z"}
