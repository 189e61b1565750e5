"""Connections to Postgres, as the library's settings have them."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from eventsourcing.postgres import PostgresDatastore

from eventsourcing_kafka.producer.runtime.compat import pool_arguments


def connect_arguments(datastore: PostgresDatastore) -> dict[str, Any]:
    """Return the arguments with which psycopg connects as the library's datastore does.

    A network that is cut without a word ends such a connection in seconds, not in hours.
    """
    keepalive = {"keepalives_idle": 5, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    return {**pool_arguments(datastore), **keepalive}


@asynccontextmanager
async def connected(**arguments: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Connect to Postgres, and close the connection at the end, also when cancelled.

    The connection's own context would roll back first, and stay open when cancelled.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(**arguments)
    except BaseException as error:
        # Cancelled half way, psycopg leaves the half-made session to the garbage collector, and
        # the server, which waits a minute for its password, lets nobody drop a database.
        traceback.clear_frames(error.__traceback__)
        raise
    try:
        yield connection
    finally:
        await connection.close()
