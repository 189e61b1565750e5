"""Whoever gave a command can wait until the view shows it."""

import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import anyio
import pytest

from tests.pipeline import Pipeline, WithoutKafka, page_id, write_page


async def test_every_command_s_position_is_one_to_wait_for(environment: dict[str, str]) -> None:
    async with Pipeline(environment) as pipeline:
        wiki = pipeline.wiki
        await pipeline.do(wiki.create_page, "Title", "page")
        originator_id = await pipeline.do(page_id, wiki, "page")
        commands: list[tuple[Callable[..., int], tuple[str, str]]] = [
            (wiki.update_title, ("page", "Other")),
            (wiki.update_body, ("page", "text")),
            (wiki.update_slug, ("page", "other")),
            (wiki.update_slug, ("other", "other")),
        ]
        for command, arguments in commands:
            position = await pipeline.do(command, *arguments)
            await pipeline.store.wait(position, originator_id)
            assert await pipeline.pages() == await pipeline.expected_pages()


async def test_a_position_is_one_to_wait_for_by_itself(environment: dict[str, str]) -> None:
    """With most of the eight partitions quiet."""
    async with Pipeline(environment) as pipeline:
        wiki = pipeline.wiki
        for number in range(4):
            await pipeline.do(wiki.create_page, f"Title {number}", f"page-{number}")
            position = await pipeline.do(wiki.update_body, f"page-{number}", "text")
            await pipeline.store.wait(position)
            assert await pipeline.pages() == await pipeline.expected_pages()
            assert await pipeline.store.has(position)
        with pytest.raises(TimeoutError):
            await pipeline.store.wait(position + 1, seconds=0.5)


async def test_a_position_is_not_reached_any_more_when_the_view_is_replayed(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment) as pipeline:
        await pipeline.do(pipeline.wiki.create_page, "Title", "page")
        position = await pipeline.do(pipeline.wiki.recorder.max_notification_id)
        assert position
        await pipeline.store.wait(position)
        await pipeline.consumers[0].stop()
        async with pipeline.store.connected() as connection:
            await pipeline.store.replay(connection)
        assert not await pipeline.store.has(position)
        pipeline.start_consumer()
        await pipeline.store.wait(position)


async def test_waiting_for_a_position_begins_before_any_consumer_and_any_relay_has_run(
    environment: dict[str, str],
) -> None:
    async with Pipeline(environment, relay=False, consumers=0) as pipeline:
        await pipeline.do(pipeline.wiki.create_page, "Title", "page")
        position = await pipeline.do(pipeline.wiki.recorder.max_notification_id)
        assert position
        assert not await pipeline.store.has(position)
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(pipeline.store.wait, position)
            pipeline.start_relay()
            pipeline.start_consumer()
        assert await pipeline.pages() == await pipeline.expected_pages()


async def test_waiting_begins_before_any_consumer_has_run(environment: dict[str, str]) -> None:
    async with Pipeline(environment, consumers=0) as pipeline:
        originator_id = await pipeline.write("page", "text")
        position = await pipeline.do(pipeline.wiki.recorder.max_notification_id)
        assert position
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(pipeline.store.wait, position, originator_id)
            pipeline.start_consumer()
        assert await pipeline.pages() == await pipeline.expected_pages()


async def test_who_waits_is_woken_and_does_not_poll(
    environment: dict[str, str],
) -> None:
    async with WithoutKafka(environment) as shortcut:
        originator_id = write_page(shortcut.wiki, "page", "text")
        position = shortcut.wiki.recorder.max_notification_id()
        assert position
        async with anyio.create_task_group() as waiting:
            wait = partial(shortcut.store.wait, look_again=60.0)
            waiting.start_soon(wait, position, originator_id)
            await shortcut.listened()
            await shortcut.catch_up()
            began = time.monotonic()
        assert time.monotonic() - began < 1


async def test_what_does_not_come_is_a_timeout(environment: dict[str, str]) -> None:
    async with WithoutKafka(environment) as shortcut:
        write_page(shortcut.wiki, "page", "text")
        await shortcut.catch_up()
        with pytest.raises(TimeoutError):
            await shortcut.store.wait(1_000, uuid4(), seconds=0.2)


async def test_another_aggregate_s_position_in_another_partition_is_not_taken_for_one_s_own(
    environment: dict[str, str],
) -> None:
    async with WithoutKafka(environment) as shortcut:
        write_page(shortcut.wiki, "page", "text")
        await shortcut.catch_up()
        await shortcut.sql("UPDATE {schema}.tracking SET position = 99 WHERE partition = 0")
        for originator_id in (uuid4() for _ in range(50)):
            if shortcut.partition(originator_id) == 1:
                break
        with pytest.raises(TimeoutError):
            await shortcut.store.wait(99, originator_id, seconds=0.2)
