"""A connection to Cassandra, and its statements; its errors are told as the library's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    ProtocolVersion,
    RequestExecutionException,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ErrorMessage
from cassandra.query import BatchStatement, BatchType, dict_factory
from eventsourcing.persistence import OperationalError, PersistenceError, ProgrammingError

FETCHED_ROWS = 25
"""Rows of one page, which a node has in its memory: each is an event, of any size."""

REQUEST_SECONDS = 10.0

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds, before a node that is away is tried again."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where Cassandra is, and what is ours there."""

    hosts: Sequence[str]
    port: int
    keyspace: str
    user: str | None = None
    password: str | None = None

    def table(self, name: str) -> str:
        """Return a table in the keyspace, as a statement has it."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.keyspace, name))

    def __str__(self) -> str:
        """Say where it is."""
        return f"Cassandra at {', '.join(self.hosts)}:{self.port}/{self.keyspace}"


class CassandraDatastore:
    """Connects when it is first asked to do something.

    What is read or written is at a quorum of all replicas, and what is decided by a lightweight
    transaction as well: two clients in different data centres see the same order.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lock = RLock()
        self._prepared: dict[str, Any] = {}
        self._connected: Any = None

    def one(self, statement: str, *parameters: Any) -> Row | None:
        """Execute a statement, and return its first row."""
        with self._errors():
            row: Row | None = self._session.execute(self._bound(statement, parameters)).one()
            return row

    def rows(self, statement: str, *parameters: Any, page: int = FETCHED_ROWS) -> Iterator[Row]:
        """Execute a statement, and yield its rows as they are fetched, so many at once."""
        with self._errors():
            bound = self._bound(statement, parameters)
            bound.fetch_size = page
            yield from self._session.execute(bound)

    def in_one_partition(self, statement: str, rows: Sequence[Sequence[Any]]) -> Any:
        """Execute a statement for each of some rows, all of them or none: in one partition."""
        with self._errors():
            return self._session.execute(self._batch(statement, rows))

    def in_partitions(self, statement: str, parts: Sequence[Sequence[Sequence[Any]]]) -> None:
        """Do so for several partitions at once, each by itself."""
        with self._errors():
            session = self._session
            asked = [session.execute_async(self._batch(statement, rows)) for rows in parts]
            for each in asked:
                each.result()

    def create(self, statement: str) -> None:
        """Create a table."""
        with self._errors():
            self._session.execute(statement)

    def close(self) -> None:
        """Close the connections; nothing can be asked after that."""
        with self._lock:
            if self._connected is not None:
                self._connected.cluster.shutdown()

    def _batch(self, statement: str, rows: Sequence[Sequence[Any]]) -> BatchStatement:
        batch = BatchStatement(
            BatchType.UNLOGGED,
            consistency_level=ConsistencyLevel.QUORUM,
            serial_consistency_level=ConsistencyLevel.SERIAL,
        )
        for row in rows:
            batch.add(self._bound(statement, row))
        return batch

    def _bound(self, statement: str, parameters: Sequence[Any]) -> Any:
        with self._lock:
            if statement not in self._prepared:
                self._prepared[statement] = self._session.prepare(statement)
            return self._prepared[statement].bind(parameters)

    @property
    def _session(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> Any:
        place = self.place
        profile = ExecutionProfile(
            consistency_level=ConsistencyLevel.QUORUM,
            serial_consistency_level=ConsistencyLevel.SERIAL,
            request_timeout=REQUEST_SECONDS,
            row_factory=dict_factory,
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy()),
        )
        auth = PlainTextAuthProvider(place.user, place.password) if place.user else None
        cluster = Cluster(
            list(place.hosts),
            port=place.port,
            auth_provider=auth,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            protocol_version=ProtocolVersion.V5,
            reconnection_policy=ExponentialReconnectionPolicy(FIRST_PAUSE, LONGEST_PAUSE),
        )
        try:
            session = cluster.connect()
        except BaseException:
            cluster.shutdown()
            raise
        return session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise the library's errors for the driver's."""
        try:
            yield
        except (InvalidRequest, ErrorMessage) as error:
            raise ProgrammingError(f"{self.place}: {error}{self._hint(error)}") from error
        except TypeError as error:
            raise ProgrammingError(f"{self.place} can't keep that: {error}") from error
        except LOST as error:
            raise OperationalError(f"{self.place}: {_reason(error)}") from error
        except DriverException as error:
            raise PersistenceError(f"{self.place}: {error}") from error

    def _hint(self, error: Exception) -> str:
        if not re.search(r"(?i)keyspace .*(does not|doesn't) exist", str(error)):
            return ""
        return (
            ". Make the keyspace, with as many replicas as there are to be: CREATE KEYSPACE "
            f"{self.place.keyspace} WITH replication = "
            "{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}"
        )


LOST = (
    NoHostAvailable,
    AuthenticationFailed,
    OperationTimedOut,
    RequestExecutionException,
    ConnectionException,
)
"""What the driver says where a server is away, overloaded, or has not answered in time."""


def _reason(error: Exception) -> str:
    """Return why, without the driver's numbers."""
    if isinstance(error, NoHostAvailable):
        reasons = error.errors.values() if isinstance(error.errors, dict) else ()
        return "; ".join(dict.fromkeys(map(str, reasons))) or str(error)
    return f"{type(error).__name__}: {error}"
