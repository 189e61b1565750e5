"""The window on the pipeline: it tells the truth, and does what operators want."""

import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from anyio.from_thread import BlockingPortal
from httpx2 import Response

from eventsourcing_kafka.compose.audit import audit
from eventsourcing_kafka.compose.audit.views import HOLD_GENERATION
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.web.auth.session import User
from eventsourcing_kafka.compose.web.pipeline import polling
from eventsourcing_kafka.compose.web.pipeline.jobs import Job
from eventsourcing_kafka.consumer.engine.parking import Parked
from eventsourcing_kafka.consumer.operations.redrive import dropped_events, parked_events
from eventsourcing_kafka.consumer.views.fts.policy import PageInfo
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.topics import Topics
from tests.operations.poison import Event, Raw, record_of
from tests.operations.test_commands import produce
from tests.pipeline import Pipeline, until

from .browser import Browser, text_of
from .test_safety import Acting
from .window import Feed, Served, act, comes_true, looked_at

OUTBOX, RELAY, TOPIC = (f"{part}-contentmanagement" for part in ("outbox", "relay", "topic"))
FTS, ACTIVITY = "view-fts", "view-activity"
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>' + "x" * 2000
LAST = "/pipeline/views/fts/parked"


async def test_it_tells_the_truth_while_things_fail_and_reads_only_while_anybody_watches(
    environment: dict[str, str], portal: BlockingPortal, kafka: Kafka, postgres: Postgres
) -> None:
    async with looked_at(environment) as (pipeline, served):
        await pipeline.write("roses", "red\n")
        await only_operators_see_it(served)
        olga = await served.browser("Olga")
        async with served.feed(olga) as feed:
            await all_parts_are_shown(feed, olga)
            await who_is_dead_is_named(feed, pipeline)
            await a_frozen_broker_is_told(feed, kafka)
            await a_killed_database_is_told(feed, portal, postgres)
            await what_the_topic_deletes_is_told(feed, pipeline)
        await nothing_is_read_any_more(served)
        await there_is_room_for_so_many(served, olga)


async def only_operators_see_it(served: Served) -> None:
    nobody, bob = await served.browser(""), await served.browser("Bob")
    for path in ("/pipeline", "/pipeline/live", "/pipeline/audit", LAST):
        assert "/sign-in" in (await nobody.get(path)).headers["location"]
        assert (await bob.get(path)).status_code == 403
        assert (await bob.client.post("/pipeline/audit")).status_code == 403
    assert next(iter(served.window.poller.parts)).age is None


async def all_parts_are_shown(feed: Feed, olga: Browser) -> None:
    for part in (OUTBOX, RELAY, TOPIC, FTS):
        await feed.says(part, "well")
    await feed.says(ACTIVITY, "nobody consumes")
    assert f"-{os.getpid()}" in feed.html
    page = await olga.get("/pipeline")
    for part in (OUTBOX, RELAY, TOPIC, FTS, ACTIVITY):
        assert f'id="{part}"' in page.text
    assert "nobody consumes" in page.text
    assert "is being read" not in page.text


async def who_is_dead_is_named(feed: Feed, pipeline: Pipeline) -> None:
    await pipeline.relay.stop()
    await feed.says(RELAY, "nobody relays")
    pipeline.start_relay()
    await feed.says(RELAY, "well")
    await pipeline.consumers.pop().stop()
    await feed.says(FTS, "nobody consumes")
    pipeline.start_consumer()
    await feed.says(FTS, "well")


async def a_frozen_broker_is_told(feed: Feed, kafka: Kafka) -> None:
    kafka.pause()
    try:
        with anyio.fail_after(8):
            for part in (RELAY, TOPIC, FTS):
                await feed.says(part, "down: no answer")
        assert feed.verdicts(OUTBOX) == ["well"]
    finally:
        kafka.resume()
    await feed.says(TOPIC, "well")


async def what_the_topic_deletes_is_told(feed: Feed, pipeline: Pipeline) -> None:
    topic = Topics.of("ContentManagement", pipeline.settings).events
    limited = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "3600000"})
    async with started(AIOKafkaAdminClient(**pipeline.settings.client())) as admin:
        await admin.alter_configs([limited])
    risk = f"The topic {topic} does not keep its events for ever, retention.ms is 3600000"
    await feed.says(TOPIC, risk)


async def a_killed_database_is_told(feed: Feed, portal: BlockingPortal, postgres: Postgres) -> None:
    portal.call(postgres.kill)
    try:
        with anyio.fail_after(8):
            for part in (OUTBOX, RELAY, FTS):
                await feed.says(part, "down: ")
        await feed.says(TOPIC, "well")
    finally:
        portal.call(postgres.start)
    for part in (OUTBOX, RELAY, FTS):
        await feed.says(part, "well")


async def nothing_is_read_any_more(served: Served) -> None:
    watch = served.window.poller
    await comes_true(lambda: watch.watchers == 0)
    await anyio.sleep(1.0 + 0.1)  # What is being read at the moment is read to its end.
    before = [len(history.points) for history in watch.parts]
    await anyio.sleep(0.5)
    assert [len(history.points) for history in watch.parts] == before


async def there_is_room_for_so_many(served: Served, olga: Browser) -> None:
    served.window.poller.watchers += polling.MOST_WATCHERS
    for path in ("/pipeline", "/pipeline/live"):
        assert (await olga.get(path)).status_code == 503
    served.window.poller.watchers -= polling.MOST_WATCHERS


async def test_operators_mend_replay_rebuild_and_audit(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eventsourcing_kafka.compose.web.pipeline")
    async with looked_at(environment) as (pipeline, served):
        olga = await served.browser("Olga")
        await an_event_is_parked(pipeline)
        await only_a_form_of_ours_acts(olga, await served.browser("Bob"), pipeline)
        since = f"that this server was started with, at {served.window.since:%Y-%m-%d %H:%M:%S} UTC"
        await parked_events_are_listed_tried_again_and_dropped(olga, pipeline, since)
        await a_view_is_replayed(olga, pipeline)
        async with served.feed(olga) as feed:
            await a_view_is_rebuilt(olga, feed, pipeline, served)
            await all_is_audited(olga, feed, pipeline)
        jobs, ann = served.window.jobs, User(UUID(int=1), "Ann")
        jobs.start("rebuild", "activity", ann, for_ever)
    job = jobs.latest("rebuild", "activity")
    assert job
    assert (job.failed, job.outcome) == (True, "The server was stopped meanwhile.")
    assert_logged(caplog)


async def for_ever(_: Job) -> str:
    await anyio.sleep_forever()
    raise AssertionError


async def an_event_is_parked(pipeline: Pipeline) -> None:
    originator_id = await pipeline.write("page", "one\n")
    await pipeline.settled()
    async with pipeline.store.connected() as connection:
        await connection.execute(pipeline.store.sql("UPDATE {schema}.pages SET body = 'x'"))
    await pipeline.do(pipeline.wiki.update_body, "page", "two\n")
    await pipeline.do(pipeline.wiki.update_title, "page", "Two")
    await pipeline.settled()
    key, value, headers = record_of(Event(originator_id, 3, 0, {}))
    hostile = {**dict(headers), "ce_sequence": HOSTILE.encode()}
    await produce(pipeline, Raw(key, value, list(hostile.items())))
    await until(lambda: are_parked(pipeline, 3))


async def are_parked(pipeline: Pipeline, events: int) -> bool:
    return len(await parked_events(pipeline.store)) == events


async def only_a_form_of_ours_acts(olga: Browser, bob: Browser, pipeline: Pipeline) -> None:
    first, *_ = await parked_events(pipeline.store)
    for path in ("retry", "drop", "replay", "rebuild", "swap-back"):
        for browser, token in ((olga, ""), (olga, "guessed"), (bob, "guessed")):
            answer = await browser.client.post(
                f"/pipeline/views/fts/{path}",
                data={"token": token, "event": f"{first.id}", "reason": "none"},
            )
            assert answer.status_code == 403
    assert await are_parked(pipeline, 3)


async def parked_events_are_listed_tried_again_and_dropped(
    olga: Browser, pipeline: Pipeline, since: str
) -> None:
    first, second, foreign = await parked_events(pipeline.store)
    listed = await olga.get(LAST)
    assert "3 events could not be applied" in text_of(listed)
    assert "<script>alert(1)</script>" in text_of(listed)
    assert_harmless(listed)
    assert f"retry?event={first.id}" in listed.text
    assert f"retry?event={second.id}" not in listed.text

    question = text_of(await olga.get(f"/pipeline/views/fts/retry?event={first.id}"))
    assert f"They are applied with the code {since}" in question
    still = await act(olga, f"/pipeline/views/fts/retry?event={first.id}")
    assert still.status_code == 409
    assert f"Parked event {first.id}" in text_of(still)
    assert_harmless(still)

    path = f"/pipeline/views/fts/drop?event={first.id}"
    assert "for ever?" in text_of(await olga.get(path))
    assert_harmless(await olga.get(path))
    assert "Say why" in text_of(await act(olga, path, reason=" "))
    behind = await act(olga, path, event=f"{second.id}", reason="by mistake")
    assert "is behind event" in text_of(behind)
    told = await act(olga, path, reason="by mistake")
    assert f"event {first.id} is dropped" in text_of(told)
    assert "by mistake by Olga" in " ".join(text_of(told).split())
    assert_harmless(told)
    (given_up,) = await dropped_events(pipeline.store)
    assert (given_up.dropped_by, given_up.reason) == ("Olga", "by mistake")
    await what_was_dropped_is_not_said_to_be_applied(olga, first)
    await what_can_be_no_id_is_not_found(olga, first.application)

    mended = await act(olga, f"/pipeline/views/fts/retry?event={second.id}")
    assert f"{second.originator_id}: 1 applied" in text_of(mended)
    nothing = await act(olga, f"/pipeline/views/fts/drop?event={foreign.id}", reason="no event")
    assert "Nothing is parked" in text_of(nothing)
    gone = await olga.get(path)
    assert gone.status_code == 409
    assert "There are: none" in text_of(gone)


async def what_can_be_no_id_is_not_found(olga: Browser, application: str) -> None:
    for odd in ("%00", "%FF", "%F0%9F%8C%B9" * 600):
        page = await olga.get(f"/pipeline/aggregate?application={application}&id={odd}")
        assert page.status_code == 404


async def what_was_dropped_is_not_said_to_be_applied(olga: Browser, event: Parked) -> None:
    of_it = f"application={event.application}&id={event.originator_id}"
    page = await olga.get(f"/pipeline/aggregate?{of_it}")
    (row,) = re.findall(
        rf"<tr>\s*<th[^>]*>{event.originator_version}</th>.*?</tr>", page.text, re.DOTALL
    )
    assert '<span class="care">dropped</span>' in row
    told = " ".join(text_of(page).split())
    assert "Given up for ever in fts" in told
    assert "by mistake by Olga" in told
    assert_harmless(page)


def assert_harmless(answer: Response) -> None:
    ours = {"link", "script"}
    acting = [found for found in Acting(answer.text).found if found.split()[0] not in ours]
    assert acting == []
    assert "x" * 1001 not in answer.text


async def expected_pages(pipeline: Pipeline) -> list[PageInfo]:
    """Return the pages without the change of the body that was dropped, which stays so."""
    return [page._replace(body="one\n") for page in await pipeline.expected_pages()]


async def a_view_is_replayed(olga: Browser, pipeline: Pipeline) -> None:
    count = sum(row.records for row in await pipeline.progress())
    question = text_of(await olga.get("/pipeline/views/fts/replay"))
    assert f"Apply {count} records of 2 partitions to fts again, from an empty view?" in question
    assert "It is emptied with the code that this server was started with, at 2" in question
    one = await olga.get("/pipeline/views/fts/replay?partition=1")
    assert "records of 1 partitions" in text_of(one)
    assert (await olga.get("/pipeline/views/fts/replay?partition=7")).status_code == 409
    assert (await olga.get("/pipeline/views/fts/replay?partition=x")).status_code == 400
    assert (await olga.get("/pipeline/views/none/replay")).status_code == 404

    done = await act(olga, "/pipeline/views/fts/replay")
    assert f"fts: {count} records of 2 partitions are applied again" in text_of(done)
    await pipeline.settled()
    assert await pipeline.pages() == await expected_pages(pipeline)


@asynccontextmanager
async def the_swap_waits(pipeline: Pipeline) -> AsyncIterator[None]:
    async with pipeline.store.connected() as connection, connection.transaction():
        await connection.execute(pipeline.store.sql(HOLD_GENERATION))
        yield


async def a_view_is_rebuilt(olga: Browser, feed: Feed, pipeline: Pipeline, served: Served) -> None:
    refused = await act(olga, "/pipeline/views/fts/swap-back")
    assert "No earlier generation of fts was kept" in text_of(refused)
    question = text_of(await olga.get("/pipeline/views/fts/rebuild"))
    assert "It is filled with the code that this server was started with, at 2" in question
    async with the_swap_waits(pipeline):
        await act(olga, "/pipeline/views/fts/rebuild", keep="yes")
        await feed.shows("rebuild runs")
        again = await act(olga, "/pipeline/views/fts/rebuild")
        assert "still runs: wait for its end" in text_of(again)
    await feed.shows("fts: the new generation is active")
    job = served.window.jobs.latest("rebuild", "fts")
    assert job
    assert job.done == job.total > 0
    back = await act(olga, "/pipeline/views/fts/swap-back")
    assert "the kept generation is active again" in text_of(back)


async def all_is_audited(olga: Browser, feed: Feed, pipeline: Pipeline) -> None:
    await pipeline.settled()
    assert "None is known of" in text_of(await olga.get("/pipeline"))
    await act(olga, "/pipeline/audit")
    await feed.shows("audited: 1 finding (1 foreign)")
    async with pipeline.store.connected() as connection:
        await connection.execute(pipeline.store.sql("UPDATE {schema}.pages SET title = 'other'"))
    await act(olga, "/pipeline/audit")
    await feed.shows("audited: 2 findings")
    await feed.shows("fts.pages: altered")
    await audit(pipeline.environment, ["fts"], by="a job at night")
    await feed.shows("begun by a job at night")
    await act(olga, "/pipeline/audit")
    await feed.shows("begun by Olga")


def assert_logged(caplog: pytest.LogCaptureFixture) -> None:
    lines = [record.message for record in caplog.records if "Olga" in record.message]
    assert all("'Olga' (" in line and "script" not in line for line in lines)
    for what in (
        "retry of fts: refused: StillFailingError",
        "drop of fts: event",
        "retry of fts: ",
        "replay of fts: fts: ",
        "rebuild of fts: fts: the new generation is active",
        "swap_back of fts: refused: KeptMissingError",
        "audit of pipeline: audited: ",
    ):
        assert any(what in line for line in lines), what
