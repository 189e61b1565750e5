"""Clients that are not built with this product read the topic, and only what was committed."""

import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiokafka import AIOKafkaProducer
from anyio import to_thread
from anyio.streams.text import TextReceiveStream
from eventsourcing.persistence import StoredEvent

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.importer.record import GitImport
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.relay.publisher import SLICE
from eventsourcing_kafka.producer.wire import Record, WireFormat
from tests.chains import chained
from tests.pipeline import ROOT, SECONDS, Pipeline

from .languages import document_of, events_of, plain, published_types, some, validators
from .node import modules, needs_node

PAGE = (ROOT / "docs" / "WIRE.md").read_text()
SHOWN = r"^```{}\n(.*?)^```$"


def topic_of(environment: dict[str, str]) -> str:
    return Topics.of("ContentManagement", KafkaSettings.from_env(environment)).events


def events_of_every_class(wiki: ContentManagement) -> None:
    """Let everything happen that can happen in the wiki."""
    wiki.create_page("A rose", "rose")
    wiki.update_title("rose", "Röslein")
    wiki.update_body("rose", "is a rose\n")
    wiki.update_slug("rose", "heidenroeslein")
    record = GitImport(root="0" * 40, include=["*.md"])
    record.advance(tip="1" * 40, commit="2" * 40)
    wiki.save(record)


def another_page(wiki: ContentManagement) -> None:
    wiki.create_page("A thorn", "thorn")


def any_events(wiki: ContentManagement) -> None:
    """Store events with any attributes that their types allow, of every class."""
    stored: dict[tuple[object, int], StoredEvent] = {}
    for event_type in published_types(ContentManagement):
        for event in some(events_of(event_type), 10):
            stored[event.originator_id, event.originator_version] = wiki.mapper.to_stored_event(
                event
            )
    wiki.recorder.insert_events(list(stored.values()))


def written(wiki: ContentManagement) -> list[Record]:
    """Return the record of each event that the wiki has stored."""
    wire = WireFormat.of(wiki)
    notifications = wiki.recorder.select_notifications(1, 1_000_000)
    return list(chained(map(wire.to_record, notifications), KafkaSettings().topic_partitions))


async def aborted(environment: dict[str, str], records: Sequence[Record]) -> None:
    """Write records to every partition in a transaction that is aborted."""
    settings = KafkaSettings.from_env(environment)
    topic = topic_of(environment)
    producer = AIOKafkaProducer(
        **settings.client(),
        transactional_id=f"{topic}.aborted",
        compression_type=settings.compression(),
    )
    async with started(producer):
        await producer.begin_transaction()
        for partition in range(settings.topic_partitions):
            for key, value, headers, *_ in records:
                await producer.send_and_wait(
                    topic, value, key=key, headers=headers, partition=partition
                )
        await producer.abort_transaction()


@asynccontextmanager
async def published(
    environment: dict[str, str], later: Callable[[ContentManagement], object]
) -> AsyncIterator[list[Record]]:
    """Publish events of every class, and later ones after a transaction that is aborted."""
    async with Pipeline(environment, consumers=0) as pipeline:
        await pipeline.do(events_of_every_class, pipeline.wiki)
        await pipeline.published()
        await aborted(environment, await pipeline.do(written, pipeline.wiki))
        await pipeline.do(later, pipeline.wiki)
        await pipeline.published()
        yield await pipeline.do(written, pipeline.wiki)


async def lines(command: Sequence[str], count: int, cwd: Path, **env: str) -> list[str]:
    """Run a program until it has printed so many lines."""
    with anyio.fail_after(SECONDS):
        async with await anyio.open_process(
            command, cwd=cwd, env={**os.environ, **env}, stderr=sys.stderr
        ) as process:
            assert process.stdout
            text = ""
            async for chunk in TextReceiveStream(process.stdout):
                text += chunk
                if text.count("\n") >= count:
                    break
            process.terminate()
    return text.split("\n")[:count]


def position(record: dict[str, Any]) -> int:
    return int(record["headers"]["ce_position"])


@pytest.mark.usefixtures("programs")
@needs_node
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
async def test_a_client_of_another_language_reads_what_is_committed(
    environment: dict[str, str], compression: str
) -> None:
    environment["KAFKA_COMPRESSION_TYPE"] = compression
    folder = await to_thread.run_sync(modules)
    async with published(environment, any_events) as records:
        where = [environment["KAFKA_BOOTSTRAP_SERVERS"], topic_of(environment)]
        program = str(Path(__file__).with_name("reader.mjs"))
        command = ["node", program, *where, f"{where[1]}.node", str(len(records)), compression]

        read = [json.loads(line) for line in await lines(command, len(records), folder)]

    assert len(read) > SLICE  # Fewer might not be compressed.
    for record in read:
        record["value"] = json.loads(record["value"])
    offsets = {(each.pop("partition"), each.pop("offset")) for each in read}
    assert len(offsets) == len(read)
    assert sorted(read, key=position) == list(map(plain, records))
    check_described(read)


def check_described(read: Sequence[dict[str, Any]]) -> None:
    """Check that records are as the AsyncAPI document says."""
    document = document_of(ContentManagement)
    for record in read:
        name = record["headers"]["ce_type"]
        headers, value = validators(document, f"ContentManagement.{name}")
        headers.validate(record["headers"])
        value.validate(record["value"])
    types = {record["headers"]["ce_type"] for record in read}
    assert types == {event_type.name for event_type in published_types(ContentManagement)}


def example(language: str, topic: str) -> str:
    """Return what the page has in a language, for another topic than the wiki's."""
    (code,) = re.findall(SHOWN.format(language), PAGE, re.DOTALL | re.MULTILINE)
    return str(code).replace("contentmanagement.events", topic)


@pytest.mark.usefixtures("programs")
@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not here")
async def test_kcat_reads_what_is_committed(environment: dict[str, str]) -> None:
    async with published(environment, another_page) as records:
        done = await anyio.run_process(
            ["sh", "-c", example("sh", topic_of(environment))], env={**os.environ, **environment}
        )

    values = [line for line in done.stdout.decode().splitlines() if line.startswith("{")]
    assert sorted(values) == sorted(record.value.decode() for record in records)
    assert done.stdout.count(b"ce_type=Page.Created") == 2


@pytest.mark.usefixtures("programs")
async def test_the_consumer_of_the_readme_reads_what_is_committed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    topic = topic_of(environment)
    program = tmp_path / "reader.py"
    program.write_text(example("python", topic).replace('"titles"', f'"{topic}"'))
    async with published(environment, another_page) as records:
        titles = {
            f"{record['headers']['ce_id']} {record['value']['title']}"
            for record in map(plain, records)
            if record["headers"]["ce_type"] in {"Page.Created", "Page.TitleUpdated"}
        }
        text = await lines([sys.executable, str(program)], len(titles), tmp_path, **environment)

    assert sorted(text) == sorted(titles)


@pytest.mark.usefixtures("programs")
async def test_the_consumer_of_the_readme_stops_at_a_record_that_does_not_follow(
    environment: dict[str, str], tmp_path: Path
) -> None:
    topic = topic_of(environment)
    program = tmp_path / "reader.py"
    program.write_text(example("python", topic).replace('"titles"', f'"{topic}"'))
    async with published(environment, another_page) as records:
        last = records[-1]
        settings = KafkaSettings.from_env(environment)
        async with started(AIOKafkaProducer(**settings.client())) as somebody:
            await somebody.send_and_wait(
                topic,
                last.value,
                key=last.key,
                partition=partition_of(last.key, settings.topic_partitions),
                headers=last.headers,  # A copy: it names what was before its original.
            )

        with anyio.fail_after(SECONDS):
            done = await anyio.run_process(
                [sys.executable, str(program)], env={**os.environ, **environment}, check=False
            )

    assert done.returncode == 1
    assert f"is not followed by {last.link.position}" in done.stderr.decode()
