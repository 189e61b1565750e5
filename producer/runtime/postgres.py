"""Connections to Postgres, as the library's settings have them."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from eventsourcing.postgres import PostgresDatastore


def connect_arguments(datastore: PostgresDatastore) -> dict[str, Any]:
    """Return the arguments with which psycopg connects as the library's datastore does.

    A network that is cut without a word ends such a connection in seconds, not in hours.
    """
    pool = datastore.pool
    assert isinstance(pool.kwargs, dict)  # noqa: S101 - the library always gives one
    password = {"password": pool.get_password_func()} if pool.get_password_func else {}
    keepalive = {"keepalives_idle": 5, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    given = {name: value for name, value in pool.kwargs.items() if name != "row_factory"}
    return {**given, **password, **keepalive}


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
