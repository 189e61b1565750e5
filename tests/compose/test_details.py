"""What `compose up` tells of a part."""

import socket

import anyio
import psycopg
import pytest

from eventsourcing_kafka.compose.servers.processes import free_port
from eventsourcing_kafka.compose.stack.details import opened_details


def settings(port: int) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(port),
        "POSTGRES_USER": "nobody",
        "POSTGRES_PASSWORD": "nothing",
        "POSTGRES_DBNAME": "none",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }


async def test_a_database_that_does_not_answer_does_not_hold_up_the_end() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        opened_details(settings(mute.getsockname()[1])) as details,
    ):
        with anyio.fail_after(20), anyio.move_on_after(0.1) as asking:
            await details["relay"]()
        assert asking.cancelled_caught


async def test_a_database_that_is_gone_is_said_to_be_at_once() -> None:
    with (
        opened_details(settings(free_port())) as details,
        anyio.fail_after(20),
        pytest.raises(psycopg.OperationalError, match="refused"),
    ):
        await details["relay"]()
