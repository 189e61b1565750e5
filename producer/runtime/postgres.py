"""Connections to Postgres, as the library's settings have them, and with a session of our own.

What a session relies on, it sets, after it is connected: what a database or a role sets for its
sessions is made for others, and poolers refuse libpq's `options`.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import anyio
import psycopg
from anyio import to_thread
from eventsourcing.postgres import PostgresDatastore, PostgresFactory
from eventsourcing.utils import Environment
from psycopg import conninfo, sql
from psycopg.generators import send
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventsourcing_kafka.producer.runtime.compat import pool_arguments
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.runtime.servers import (
    UnreachableError,
    connecting_to,
    note_server,
    talking_to,
    telling_after,
)
from eventsourcing_kafka.producer.runtime.sqlalchemy import libpq_arguments

if TYPE_CHECKING:
    from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
CLOSE_SECONDS = 2.0

LONG_SECONDS = 5.0
"""Somebody who waits for a statement so long wonders why."""

NONE: Mapping[str, str] = MappingProxyType({})

RELIED_ON = {
    # Texts hold what any text may, also where the database is told to have another encoding.
    "client_encoding": "UTF8",
    # In no other form does psycopg read times, and intervals, and numbers to the last digit.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    # A statement that waits for another's row sees then what that has written.
    "default_transaction_isolation": "read committed",
    # Batches, indexes and audits take their time, and listeners wait for ever.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
CANCEL_SECONDS = 1.0
"""So long a server may take to hear that a statement is to be cancelled."""
SINCE = {"transaction_timeout": 170_000}
"""The first version that knows a setting, where not every server does."""


class PostgresUnreachableError(UnreachableError, psycopg.OperationalError):
    """Postgres can't be reached, or does not let us in."""


_refused: dict[str, PostgresUnreachableError] = {}
"""Why servers have not let us in, until they do: a pool connects in the background."""

PROBE_SECONDS = 2.0
_POOLING_SESSIONS: set[str] = set()
"""The poolers that were found to pool sessions."""


class PoolerError(OperatorError):
    """Between us and Postgres is what gives each transaction another session."""

    def __init__(self, server: str) -> None:
        super().__init__(
            f"{server} is a pooler in transaction mode, where no lock, no LISTEN and no setting "
            "lasts: have it pool sessions (PgBouncer: pool_mode = session), or connect to Postgres "
            "itself."
        )


class NotAheadError(OperatorError):
    """Statements are sent ahead, and this can't be."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} can't be where statements are sent before earlier ones are answered: "
            "leave sent_ahead=True out of the view."
        )


ENDS = 3
"""So often a generator of psycopg's is told to end: the end of a pipeline waits for more."""


class SessionCursor(psycopg.AsyncCursor[Any]):
    """A cursor that says so when it is asked for what is not known yet, or can't be sent ahead."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement was about. Raises `NotAheadError` if nobody knows yet."""
        if self.pgresult is None and self._is_ahead():
            raise NotAheadError("A look at rowcount")
        return super().rowcount

    def copy(self, *arguments: Any, **options: Any) -> Any:
        """Do as psycopg does. Raises `NotAheadError`."""
        if self._is_ahead():
            raise NotAheadError("COPY")
        return super().copy(*arguments, **options)

    def stream(self, *arguments: Any, **options: Any) -> Any:
        """Do as psycopg does. Raises `NotAheadError`."""
        if self._is_ahead():
            raise NotAheadError("stream()")
        return super().stream(*arguments, **options)

    def _is_ahead(self) -> bool:
        return isinstance(self.connection, Session) and self.connection.is_ahead


class Session(psycopg.AsyncConnection[Any]):
    """A connection in autocommit mode, with all set that a session relies on."""

    server = "Postgres"
    """Which server, and which database of it."""
    is_ahead = False
    """Whether statements do not wait for the answers to earlier ones."""

    @property
    def sends_ahead(self) -> bool:
        """Whether `sent_ahead` is safe.

        A transaction of which a part is sent is not idle, and only `transaction_timeout` ends it
        when the process that has sent it stands still.
        """
        return self.info.server_version >= SINCE["transaction_timeout"]

    @asynccontextmanager
    async def sent_ahead(self) -> AsyncIterator[None]:
        """Begin a transaction whose statements, its COMMIT, too, wait for no earlier answers.

        Whoever fetches rows waits for all that was sent before. What Postgres refuses is raised
        there, or at the end: nothing is committed then. Cancelled, it has Postgres cancel what it
        is at, or the COMMIT behind that would still be carried out.
        """
        canceller = self.pgconn.get_cancel()
        try:
            async with self.pipeline():
                await self.execute("BEGIN")
                self.is_ahead = True
                try:
                    yield
                finally:
                    self.is_ahead = False
                await self.execute("COMMIT")
        except Exception:
            with suppress(psycopg.OperationalError):  # What is lost is rolled back.
                await self.rollback()
            raise
        except BaseException:
            with anyio.move_on_after(CANCEL_SECONDS, shield=True), suppress(psycopg.Error):
                await to_thread.run_sync(canceller.cancel, abandon_on_cancel=True)
            raise

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Begin a transaction; inside of one a savepoint, and so in one that is sent ahead."""
        if self.is_ahead:  # psycopg knows that it is inside of one once BEGIN is answered.
            await self.wait(send(self.pgconn))  # sync() writes to the socket once.
            async with self.pipeline() as pipeline:
                await pipeline.sync()
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            yield transaction

    async def commit(self) -> None:
        """Do as psycopg does, which forbids it inside of a transaction."""
        self._check_not_ahead("commit()")
        await super().commit()

    async def rollback(self) -> None:
        """Do as psycopg does, which forbids it inside of a transaction."""
        self._check_not_ahead("rollback()")
        await super().rollback()

    def _check_not_ahead(self, what: str) -> None:
        if self.is_ahead:
            raise psycopg.ProgrammingError(f"Explicit {what} forbidden within a transaction.")

    async def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Do as psycopg does, and say whose an error is, and what takes long.

        Who is cancelled leaves nothing of a pipeline to the garbage collector, which would find the
        connection closed, and complain.
        """
        try:
            with telling_after(LONG_SECONDS, self._tell):
                return await super().wait(gen, *arguments, **options)
        except psycopg.OperationalError as error:
            note_server(error, self.server)
            raise
        except anyio.get_cancelled_exc_class():
            for _ in range(ENDS):
                with suppress(RuntimeError, psycopg.Error):
                    gen.close()
            raise

    def _tell(self) -> None:
        # Whoever waits for a NOTIFY is idle.
        if self.pgconn.transaction_status is TransactionStatus.ACTIVE:
            logger.info(
                "%s has been at a statement for %.0f s: does it wait for a lock? "
                "SELECT pg_blocking_pids(%d) tells",
                self.server,
                LONG_SECONDS,
                self.pgconn.backend_pid,
            )

    @classmethod
    async def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        settings: Mapping[str, str] = NONE,
        **arguments: Any,
    ) -> Self:
        """Connect as psycopg does, and set what is relied on, and `settings` besides.

        Raises `PostgresUnreachableError`, which says where and why, and `PoolerError`.
        """
        server = server_of(arguments, conninfo)
        with connecting_to(server), explained(server):
            session = await super().connect(conninfo, autocommit=True, **arguments)
        session.server = server
        session.cursor_factory = SessionCursor
        try:
            with talking_to(server):
                pid = await _begin(session, settings)
                if pid != session.info.backend_pid and server not in _POOLING_SESSIONS:
                    await cls._check_pooler(session, pid, server, conninfo, arguments)
        except BaseException:
            await session.close()
            raise
        return session

    @classmethod
    async def _check_pooler(
        cls, session: Self, pid: int, server: str, conninfo: str, arguments: Mapping[str, Any]
    ) -> None:
        """Raise `PoolerError` if somebody else gets the process that our session has.

        A pooler of sessions gives the other one another process, or has it wait for one.
        """
        with anyio.move_on_after(PROBE_SECONDS):
            other = await super().connect(conninfo, autocommit=True, **arguments)
            try:
                async with other.transaction():
                    theirs = await _pid_of(other)
                    if pid == theirs or await _pid_of(session) != pid:
                        raise PoolerError(server)
            finally:
                await other.close()
        _POOLING_SESSIONS.add(server)


class SessionPool(AsyncConnectionPool[Session]):
    """Keeps sessions open; when one is found to be lost, all that are idle are replaced.

    The pool waits longer after each that is lost: a server that has ended all of them would cost
    the sum of it.
    """

    def __init__(self, arguments: Callable[[], dict[str, Any]], **options: Any) -> None:
        super().__init__(
            connection_class=Session, kwargs=arguments, check=self._renew_together, **options
        )
        self._connect_arguments = arguments

    async def _renew_together(self, session: Session) -> None:
        try:
            await self.check_connection(session)
        except Exception:
            await self.drain()
            raise

    async def getconn(self, timeout: float | None = None) -> Session:  # noqa: ASYNC109 - its own
        """Give one, or raise `PoolTimeout`, or why there is none: `PostgresUnreachableError`."""
        try:
            return await super().getconn(timeout)
        except PoolTimeout as error:
            server = server_of(self._connect_arguments())
            raise _refused.get(server, error) from error


async def _begin(session: psycopg.AsyncConnection[Any], settings: Mapping[str, str]) -> int:
    """Set all, and return the process that does so: a pooler has told us of another one."""
    return await _pid(session, setting(settings, session.info.server_version))


async def _pid_of(session: psycopg.AsyncConnection[Any]) -> int:
    return await _pid(session, sql.SQL("SELECT pg_backend_pid()"))


async def _pid(session: psycopg.AsyncConnection[Any], statement: sql.SQL | sql.Composed) -> int:
    cursor = session.cursor(row_factory=tuple_row)
    await cursor.execute(statement, prepare=False)
    (pid, *_) = await cursor.fetchone() or (0,)
    return int(pid)


def setting(settings: Mapping[str, str], server_version: int) -> sql.Composed:
    """Return a statement that sets what a session relies on, and then `settings`."""
    calls = [
        sql.SQL("set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
        for name, value in {**RELIED_ON, **settings}.items()
        if server_version >= SINCE.get(name, 0)
    ]
    return sql.SQL("SELECT pg_backend_pid(), {}").format(sql.SQL(", ").join(calls))


@contextmanager
def explained(server: str) -> Iterator[None]:
    """Raise `PostgresUnreachableError` if Postgres can't be connected to."""
    try:
        yield
    except psycopg.Error as error:
        _refused[server] = PostgresUnreachableError(f"{server}: {_reason(error)}")
        raise _refused[server] from error
    _refused.pop(server, None)


def server_of(arguments: Mapping[str, Any], dsn: str = "") -> str:
    """Return which server, and which database of it, is connected to."""
    given = {**conninfo.conninfo_to_dict(dsn), **arguments}
    host = given.get("host") or os.environ.get("PGHOST") or "localhost"
    port = given.get("port") or os.environ.get("PGPORT") or 5432
    return f"Postgres at {host}:{port}/{given.get('dbname') or given.get('user') or ''}"


_WHERE = re.compile(r"^(connection failed: )?(connection to server .*? failed: )?(FATAL: +)?")


def _reason(error: psycopg.Error) -> str:
    """Return why, in a line, without where."""
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return "no answer"
    (first, *_) = str(error).strip().splitlines() or [type(error).__name__]
    return _WHERE.sub("", first)


def check_named(settings: Environment) -> None:
    """Raise `SettingsError` if settings of the library's name no database in Postgres."""
    if not settings.get(PostgresFactory.POSTGRES_DBNAME):
        name = f"{settings.name.upper()}_{PostgresFactory.POSTGRES_DBNAME}"
        raise SettingsError(
            f"No database is named for {settings.name}: set {name}, or "
            f"{PostgresFactory.POSTGRES_DBNAME}. A stack on this machine prints its own: "
            "eventsourcing-kafka compose env"
        )


def connect_arguments(datastore: PostgresDatastore | SQLAlchemyDatastore) -> dict[str, Any]:
    """Return the arguments with which psycopg connects as the library's datastore does.

    A network that is cut without a word ends such a connection in seconds, not in hours.
    """
    if isinstance(datastore, PostgresDatastore):
        given = pool_arguments(datastore)
    else:
        given = libpq_arguments(datastore)
    if "PGCONNECT_TIMEOUT" not in os.environ:
        given["connect_timeout"] = CONNECT_SECONDS
    keepalive = {"keepalives_idle": 5, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    return {**given, **keepalive}


@asynccontextmanager
async def server_cursor(
    connection: psycopg.AsyncConnection[Any], name: str, **options: Any
) -> AsyncIterator[psycopg.AsyncServerCursor[Any]]:
    """Give a cursor whose rows stay at the server, and close it at the end, also when cancelled.

    Its own context would be cancelled in closing it, and leave it open.
    """
    cursor = connection.cursor(name=name, **options)
    try:
        yield cursor
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await cursor.close()


@asynccontextmanager
async def connected(
    *, settings: Mapping[str, str] = NONE, **arguments: Any
) -> AsyncIterator[Session]:
    """Connect to Postgres, and close the connection at the end, also when cancelled.

    The connection's own context would roll back first, and stay open when cancelled.
    """
    try:
        session = await Session.connect(settings=settings, **arguments)
    except BaseException as error:
        # Cancelled half way, psycopg leaves the half-made session to the garbage collector, and
        # the server, which waits a minute for its password, lets nobody drop a database.
        traceback.clear_frames(error.__traceback__)
        raise
    try:
        with talking_to(session.server):
            yield session
    finally:
        await session.close()
