"""What was stored before modules moved is read, published and applied as what is stored today."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from aiokafka import TopicPartition
from eventsourcing.application import Application
from eventsourcing.persistence import AggregateRecorder

from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.importer.git_import import GitImporter
from eventsourcing_kafka.producer.importer.history import History
from eventsourcing_kafka.producer.importer.record import GitImport
from eventsourcing_kafka.producer.kafka.clients import groupless_consumer
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partitions_of
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat
from examples.dogschool.application import DogSchool
from tests.importer.repositories import Repository
from tests.pipeline import RELAY, ROOT, SECONDS, pages_of, select_pages

HERE = Path(__file__).parent
SEEN = json.loads((HERE / "seen.json").read_text())
"""What the code that stored the events read and published of them."""

Record = dict[str, Any]

READ_ALL = """
from sys import argv
from eventsourcing.utils import resolve_topic
app = resolve_topic(argv[1])()
for notification in app.recorder.select_notifications(1, 1000):
    app.mapper.to_domain_event(notification)
for originator_id in {each.originator_id for each in app.recorder.select_notifications(1, 1000)}:
    print(originator_id)
"""


def stored(name: str, folder: Path) -> dict[str, str]:
    """Return the settings of the database that an application had then."""
    dbname = {"ContentManagement": "wiki", "DogSchool": "dogschool"}[name]
    file = folder / f"{dbname}.sqlite"
    with sqlite3.connect(file) as database:
        database.executescript((HERE / f"{dbname}.sql").read_text())
    database.close()
    return {
        f"{name.upper()}_PERSISTENCE_MODULE": "eventsourcing.sqlite",
        f"{name.upper()}_SQLITE_DBNAME": str(file),
    }


ADDED_SINCE = {"ce_identity", "ce_predecessor", "ce_storedtopic", "ce_unwrapped"}


def as_seen(
    key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]], timestamp: int | None
) -> Record:
    """Return a record as it is told of in the file, which is older than some headers."""
    return {
        "key": key.decode(),
        "value": json.loads(value),
        "headers": {name: text.decode() for name, text in headers if name not in ADDED_SINCE},
        "timestamp": timestamp,
    }


@pytest.fixture
def wiki(tmp_path: Path) -> Iterator[ContentManagement]:
    with ContentManagement(stored("ContentManagement", tmp_path)) as wiki:
        yield wiki


@pytest.fixture
def school(tmp_path: Path) -> Iterator[DogSchool]:
    with DogSchool(stored("DogSchool", tmp_path)) as school:
        yield school


@pytest.mark.parametrize("name", ["ContentManagement", "DogSchool"])
def test_all_that_is_stored_has_an_old_path(name: str, tmp_path: Path) -> None:
    application = {"ContentManagement": ContentManagement, "DogSchool": DogSchool}[name]
    with application(stored(name, tmp_path)) as app:
        topics = {each.topic for each in app.recorder.select_notifications(1, 1_000)}

    assert topics
    assert all(topic.startswith("producer.") for topic in topics)


def test_every_page_is_read_with_who_wrote_it(wiki: ContentManagement) -> None:
    pages = [json.loads(json.dumps(page, default=str)) for page in wiki.get_pages()]

    assert pages == SEEN["pages"]


def test_a_page_is_read_from_its_snapshot(wiki: ContentManagement) -> None:
    page_id = wiki.get_page_id("roses")
    assert wiki.snapshots
    (snapshot,) = wiki.snapshots.get(page_id, desc=True, limit=1)
    page: Page = wiki.repository.get(page_id)

    assert snapshot.originator_version == 5
    assert type(page) is Page
    assert page.version == 9


def test_an_import_goes_on_where_it_was(wiki: ContentManagement) -> None:
    notifications = wiki.recorder.select_notifications(1, 1_000)
    (import_id,) = {each.originator_id for each in notifications if "GitImport" in each.topic}
    record: GitImport = wiki.repository.get(UUID(str(import_id)))

    assert record.version == 4
    ((tip, last),) = record.walks
    assert tip == last


def test_every_dog_is_read(school: DogSchool) -> None:
    dogs = [school.get_dog(dog["name"]) for dog in SEEN["dogs"]]

    assert [{**dog, "tricks": list(dog["tricks"])} for dog in dogs] == SEEN["dogs"]


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    "application",
    [
        "eventsourcing_kafka.producer.contentmanagement.application:ContentManagement",
        "examples.dogschool.application:DogSchool",
    ],
)
def test_every_event_is_read_where_nothing_but_its_application_was_imported(
    application: str, tmp_path: Path
) -> None:
    name = application.partition(":")[2]
    read = subprocess.run(
        [sys.executable, "-c", READ_ALL, application],
        env={**os.environ, **stored(name, tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert read.returncode == 0, read.stderr
    assert set(read.stdout.split()) == {record["key"] for record in SEEN[name]}


def test_records_are_what_they_were(wiki: ContentManagement, school: DogSchool) -> None:
    for app in (wiki, school):
        assert records_of(app) == SEEN[app.name]


def records_of(app: Application[UUID]) -> list[Record]:
    """Return what is published of an application."""
    wire = WireFormat(app.name, EventTypes(), app.mapper)
    notifications = app.recorder.select_notifications(1, 1_000)
    return [as_seen(*wire.to_record(each)[:4]) for each in notifications]


@pytest.fixture
def moved(environment: dict[str, str], wiki: ContentManagement) -> dict[str, str]:
    """The settings of a pipeline whose wiki has the same events and snapshots in Postgres."""
    events = wiki.recorder.select_notifications(1, 1_000)
    with ContentManagement(environment) as copy:
        copy.recorder.insert_events(events)
        for originator_id in {event.originator_id for event in events}:
            snapshots = snapshots_of(wiki).select_events(originator_id)
            snapshots_of(copy).insert_events(snapshots)
    return environment


def snapshots_of(app: Application[UUID]) -> AggregateRecorder:
    assert app.snapshots
    return app.snapshots.recorder


@contextmanager
def running(environment: dict[str, str], *command: str) -> Iterator[None]:
    """Run a command meanwhile, in a process that has imported nothing else."""
    with subprocess.Popen(
        [sys.executable, "-m", "eventsourcing_kafka", *command, "--quiet"],
        env={**os.environ, **environment},
        cwd=ROOT,
    ) as process:
        try:
            yield
        finally:
            process.terminate()
    assert process.returncode == 0


async def published(environment: dict[str, str], name: str, count: int) -> list[Record]:
    """Wait for so many records of an application; return them in the order of their positions."""
    settings = KafkaSettings.from_env(environment)
    topic = Topics.of(name, settings).events
    records: list[Record] = []
    with anyio.fail_after(SECONDS):
        while not (partitions := await partitions_of(topic, settings)):  # noqa: ASYNC110
            await anyio.sleep(0.02)  # Its relay makes it.
        async with groupless_consumer(settings) as consumer:
            consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
            await consumer.seek_to_beginning()
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    records += (
                        as_seen(each.key, each.value, each.headers, each.timestamp)
                        for each in batch
                    )
    return sorted(records, key=lambda record: int(record["headers"]["ce_position"]))


@pytest.mark.usefixtures("programs")
async def test_they_are_published_applied_and_found_unaltered_as_they_stand(
    moved: dict[str, str],
) -> None:
    count = len(SEEN["ContentManagement"])
    with running(moved, *RELAY), running(moved, "consumer", "run", "fts"):
        assert await published(moved, "ContentManagement", count) == SEEN["ContentManagement"]

        with ContentManagement(moved) as wiki:
            wiki.create_page("New", "new")
            position = wiki.update_title("roses", "Roses again")
            page_id, pages = wiki.get_page_id("roses"), pages_of(wiki)
        records = await published(moved, "ContentManagement", count + 4)
        assert records[:count] == SEEN["ContentManagement"]
        types = {record["headers"]["ce_type"] for record in records[count:]}
        assert types == {"PageLogged", "Slug.Created", "Page.Created", "Page.TitleUpdated"}

        store = ViewStore.of(VIEW, moved)
        await store.wait(position, page_id, seconds=SECONDS)
        assert await select_pages(store) == pages

        audit = await anyio.run_process(
            [sys.executable, "-m", "eventsourcing_kafka", "compose", "audit", "fts"],
            env={**os.environ, **moved},
            cwd=ROOT,
            check=False,
        )
        assert audit.returncode == 0, audit.stdout.decode() + audit.stderr.decode()
        assert b"unaltered" in audit.stdout


@pytest.mark.usefixtures("programs")
async def test_so_are_those_of_an_example_in_sqlite(
    environment: dict[str, str], tmp_path: Path
) -> None:
    topic = "examples.dogschool.application:DogSchool"
    moved = {**environment, **stored("DogSchool", tmp_path)}
    with running(moved, "producer", "relay", "--application", topic):
        records = await published(moved, "DogSchool", len(SEEN["DogSchool"]))

    assert records == SEEN["DogSchool"]


def test_an_import_of_then_goes_on(wiki: ContentManagement, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")  # The same commits as then, by the README.
    repository.commit({"a.md": "one\n", "b.md": "two\n"})
    repository.commit({"a.md": "one\nmore\n"}, email="bea@example.org")
    repository.commit({"b.md": None, "c.md": "two\n"})
    repository.commit({"c.md": "two\nthree\n"})
    assert GitImporter(wiki, History(repository.path), ["*.md"]).run().commits == 0
    repository.commit({"a.md": "changed\n"})
    assert GitImporter(wiki, History(repository.path), ["*.md"]).run().commits == 1
    assert wiki.get_page_by_slug("a.md")["body"] == "changed\n"
