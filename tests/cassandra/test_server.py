"""The embedded node keeps its data, and its start is told apart from what is in the way of it."""

from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest
from eventsourcing.persistence import ApplicationRecorder, OperationalError, StoredEvent
from eventsourcing.utils import Environment

from eventsourcing_kafka.compose.servers import cassandra as server
from eventsourcing_kafka.compose.servers import java17
from eventsourcing_kafka.compose.servers.cassandra import Cassandra, cassandra_environment
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.stack.parts import checked_parts, parts
from eventsourcing_kafka.producer.cassandra import CassandraFactory
from tests.pipeline import SECONDS


@pytest.mark.usefixtures("programs", "cassandra_can_be_had")
async def test_a_node_that_is_killed_is_waited_for_and_has_what_it_has_acknowledged(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    async with Cassandra(folder) as node:
        await node.create_keyspace("kept")
        factory = factory_on(node)
        recorder = factory.application_recorder()
        await in_thread(recorder.insert_events, [EVENT])
        await node.kill()
    with closing(factory):
        with pytest.raises(OperationalError):
            await in_thread(recorder.max_notification_id)
        async with Cassandra(folder, port=node.port) as node:
            assert await once_it_answers(recorder) == 1
            await node.kill()


EVENT = StoredEvent(uuid4(), 1, "some:topic", b"{}")

in_thread = anyio.to_thread.run_sync


def factory_on(node: Cassandra) -> CassandraFactory:
    return CassandraFactory(Environment("shop", cassandra_environment(node, "kept")))


async def once_it_answers(recorder: ApplicationRecorder) -> int | None:
    with anyio.fail_after(SECONDS):
        while True:
            with suppress(OperationalError):
                return await in_thread(recorder.max_notification_id)
            await anyio.sleep(0.1)


def test_it_runs_only_where_it_is_named_and_needs_no_other() -> None:
    assert "cassandra" not in parts()
    assert checked_parts(["cassandra"]) == ["cassandra"]
    with pytest.raises(StackError, match="'relay' needs kafka and postgres"):
        checked_parts(["cassandra", "relay"])


def test_without_its_driver_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find_spec", lambda _: None)
    with pytest.raises(StackError, match=r"eventsourcing-kafka\[cassandra\]"):
        server.ready()


@pytest.mark.usefixtures("programs")
def test_java_that_can_not_be_fetched_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTSOURCING_KAFKA_CACHE", str(tmp_path))
    lock = tmp_path / "lock"
    lock.write_text(f"./no-such-1.0-py3-none-any.whl --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(java17, "LOCK", lock)
    with pytest.raises(StackError, match="Java 17 could not be fetched"):
        java17.java()
    assert not (tmp_path / "java-17").exists()
