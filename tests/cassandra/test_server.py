"""The embedded node keeps its data, and its start is told apart from what is in the way of it."""

from pathlib import Path

import anyio
import pytest

from eventsourcing_kafka.compose.servers import cassandra as server
from eventsourcing_kafka.compose.servers import java17
from eventsourcing_kafka.compose.servers.cassandra import Cassandra
from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.stack.parts import checked_parts, parts
from eventsourcing_kafka.producer.cassandra.datastore import CassandraDatastore, Place


@pytest.mark.usefixtures("programs", "cassandra_can_be_had")
async def test_what_is_stored_is_there_after_a_kill_for_a_new_owner(tmp_path: Path) -> None:
    async with Cassandra(tmp_path / "data") as node:
        await node.create_keyspace("kept")
        await anyio.to_thread.run_sync(keep, node)
        await node.kill()
    async with Cassandra(tmp_path / "data") as node:
        assert await anyio.to_thread.run_sync(kept, node) == 42


def keep(node: Cassandra) -> None:
    datastore = CassandraDatastore(Place(["127.0.0.1"], node.port, "kept"))
    datastore.create("CREATE TABLE kept.answers (key int PRIMARY KEY, answer int)")
    datastore.one("INSERT INTO kept.answers (key, answer) VALUES (?, ?)", 1, 42)
    datastore.close()


def kept(node: Cassandra) -> int:
    datastore = CassandraDatastore(Place(["127.0.0.1"], node.port, "kept"))
    row = datastore.one("SELECT answer FROM kept.answers WHERE key = ?", 1)
    datastore.close()
    assert row
    return int(row["answer"])


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
