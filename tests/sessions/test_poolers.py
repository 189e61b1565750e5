"""Through PgBouncer everything works where it pools sessions; else it is said that it can't."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.consumer.views.fts.search import search
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay
from eventsourcing_kafka.producer.runtime.postgres import PoolerError
from eventsourcing_kafka.producer.wire import WireFormat
from tests.pipeline import Pipeline

from .pgbouncer import NEEDED, pgbouncer

pytestmark = [NEEDED, pytest.mark.usefixtures("programs")]


@pytest.fixture
def bouncer(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path
) -> Iterator[Mapping[str, str]]:
    """The settings that lead through it."""
    with pgbouncer(postgres, tmp_path, request.param) as port:
        yield {"POSTGRES_PORT": str(port)}


@pytest.mark.parametrize("bouncer", ["session"], indirect=True)
async def test_through_a_pooler_of_sessions_all_runs(
    environment: dict[str, str], bouncer: dict[str, str]
) -> None:
    async with Pipeline(environment | bouncer) as pipeline:
        await pipeline.write("roses", "red\n")
        await pipeline.applied()
        assert [found.slug for found in await search(pipeline.store, "red")] == ["roses"]
        async with pipeline.store.connected({"statement_timeout": "4s"}) as connection:
            cursor = await connection.execute("SHOW statement_timeout")
            assert await cursor.fetchone() == ("4s",)


@pytest.mark.parametrize("bouncer", ["transaction"], indirect=True)
async def test_a_pooler_of_transactions_is_recognised_and_named(
    environment: dict[str, str], bouncer: dict[str, str]
) -> None:
    port = bouncer["POSTGRES_PORT"]
    async with Pipeline(environment, consumers=0, relay=False) as pipeline:
        with ContentManagement(environment | bouncer) as wiki:
            relay = Relay(outbox_of(wiki), WireFormat.of(wiki), pipeline.settings)
            with pytest.raises(PoolerError, match=f"{port}/.* is a pooler in transaction mode"):
                await relay.run()
        with pytest.raises(PoolerError, match="pool_mode = session"):
            await search(ViewStore.of(VIEW, environment | bouncer), "red")
