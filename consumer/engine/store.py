"""A view's rows and its tracking, in one schema of one Postgres database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from hashlib import sha256
from types import MappingProxyType
from typing import Any, LiteralString, Self, TypeVar, TypeVarTuple
from uuid import UUID

import anyio
import psycopg
from eventsourcing.postgres import BasePostgresFactory, PostgresFactory
from eventsourcing.utils import Environment
from psycopg import AsyncConnection, sql
from psycopg.pq import TransactionStatus

from eventsourcing_kafka.consumer.engine.parking import MAKE, Parking, Skip
from eventsourcing_kafka.consumer.engine.protocol import Again, Capabilities, Store
from eventsourcing_kafka.consumer.engine.tracking import CREATE_TRACKING, Move, TrackingTable
from eventsourcing_kafka.consumer.view import View
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.runtime.misspelt import slips, warn_of_unknown
from eventsourcing_kafka.producer.runtime.postgres import (
    Session,
    SessionPool,
    check_named,
    connect_arguments,
    connected,
)
from eventsourcing_kafka.producer.runtime.retry import SessionLostError
from eventsourcing_kafka.producer.runtime.secrets import (
    FILE,
    POSTGRES_PASSWORD,
    with_password_files,
)
from eventsourcing_kafka.producer.wire.chain import Link
from eventsourcing_kafka.producer.wire.position import Published, published_from, read_published

LOOK_AGAIN_SECONDS = 1.0
"""While waiting for a position: a pooler may swallow the NOTIFY."""

POOL_SECONDS = 10.0
"""So long a pool lets one wait for a connection."""

KEPT_OPEN_SECONDS = 2.0
"""The same, where somebody waits for a page."""

FILLING, FILLED = "until", "at"
"""What comes after the shape in the tracking of a view as it was, and before its position."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

QUIETLY = {"client_min_messages": "warning"}
"""Long words that no index takes are a NOTICE each."""

MADE_MEANWHILE = (
    psycopg.errors.UniqueViolation,  # in Postgres' own tables
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateFunction,
    psycopg.errors.DuplicateSchema,
    psycopg.errors.DuplicateTable,
)
KEPT = "A statement was refused, and its unit of work has kept that to itself."

# Only what waits by itself: what does so when it is told to refuses at once, and may be caught. But
# they are told by their names, which others of the same schema may have.
SELECT_DEFER: LiteralString = """
    SELECT CASE WHEN bool_and(alone)
                THEN 'SET CONSTRAINTS ' || string_agg(name, ', ') || ' DEFERRED'
                WHEN NOT bool_and(alone) THEN 'SET CONSTRAINTS ALL DEFERRED'
           END
      FROM (SELECT format('%I.%I', nspname, conname) AS name, bool_and(condeferred) AS alone
              FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace
             WHERE has_schema_privilege(connamespace, 'USAGE')
             GROUP BY nspname, conname HAVING bool_or(condeferred)) AS waiting
"""

NOT_THERE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
GONE_MEANWHILE = (psycopg.errors.UndefinedObject, psycopg.errors.InvalidSchemaName)


class ShapeChangedError(OperatorError):
    """The code makes the view's tables otherwise than they were made."""

    def __init__(self, view: View) -> None:
        super().__init__(
            f"The tables of {view.name} were made by other code, or with other settings. "
            "Fill new ones beside them and swap: "
            f"eventsourcing-kafka consumer rebuild {view.arguments}"
        )


class PartitionsChangedError(OperatorError):
    """The topic has another count of partitions than the view has tracked."""

    def __init__(self, view: View, partitions: int) -> None:
        super().__init__(
            f"The topic has {partitions} partitions, and the view {view.name} has followed another "
            "count. Is it another topic? Fill the view anew: "
            f"eventsourcing-kafka consumer rebuild {view.arguments}"
        )


RECORDS_EVENTS = (
    "it is an application that may record events of its own, and they would be recorded, and "
    "published, a second time. Follow with a new one, under another name, on a database of its own."
)


class PastError(OperatorError):
    """What is to be applied to is a view as it was at a position."""

    def __init__(self, view: View, schema: str) -> None:
        super().__init__(
            f"What is in {schema} is {view.name} as it was, and nothing more is applied to it. "
            f"{view.name.upper()}_POSTGRES_SCHEMA={schema} is for reading it: leave that out here."
        )


class NotReplayableError(OperatorError):
    """Events that are applied can't be applied again, in the way that was asked for."""

    def __init__(self, name: str, why: str = RECORDS_EVENTS, again: Again = Again.REPLAYED) -> None:
        super().__init__(f"{name} can't be {again}: {why}")


class NotRemovableError(OperatorError):
    """A view does not say how an aggregate's rows are found."""

    def __init__(self, view: View) -> None:
        lacking = ", ".join(sorted(set(view.tables) - set(view.aggregate_columns)))
        super().__init__(
            f"{view.name} does not say which rows of {lacking} are an aggregate's: name the column "
            "of its ID in aggregate_columns of the view, or take it out by statements in subtract."
        )


class ViewMissingError(OperatorError):
    """No consumer has made the view yet."""

    def __init__(self, view: View) -> None:
        super().__init__(
            f"There is no view {view.name} yet. Start its consumer: eventsourcing-kafka "
            + (f"compose run {view.system}" if view.system else f"consumer run {view.arguments}")
        )


class ViewStore:
    """One generation of a view: its schema has the tables, the tracking, and what is parked."""

    capabilities = Capabilities()
    floor = 0

    def __init__(
        self,
        view: View,
        connect: Callable[[], dict[str, Any]],
        schema: str,
        settings: Mapping[str, str],
        env: Mapping[str, str] = MappingProxyType({}),
        until: int | None = None,
    ) -> None:
        self.view = view
        self.schema = schema
        self._connect = connect
        self._settings = settings
        self._env = env
        """Tells how to reach Kafka, should anybody wait for a position."""
        self._published: Published | None = None
        """A position record that somebody has waited for."""
        self._kept_open: SessionPool | None = None
        self._code = _fingerprint(view, settings)
        self._until = until
        self._shape = self._code if until is None else f"{self._code} {FILLING} {until}"
        self.tracking = TrackingTable(schema, view.application_name, self._shape)
        self.parking = Parking(schema, view.application_name)

    @classmethod
    def of(cls, view: View, env: Mapping[str, str]) -> Self:
        """Find a view by the library's settings, prefixed with its name: `ORDERS_POSTGRES_…`.

        Variables that are nearly one of them are named in the log.
        """
        _warn_of_slips(view, env)
        named = Environment(view.name, with_password_files(env))
        check_named(named)
        datastore = PostgresFactory(named).datastore
        schema = named.get(PostgresFactory.POSTGRES_SCHEMA) or view.name
        settings = {
            name: named.get(name.upper()) or default for name, default in view.settings.items()
        }
        return cls(view, partial(connect_arguments, datastore), schema, settings, env)

    def generation(self, schema: str) -> Self:
        """Return the same view in another schema."""
        return type(self)(self.view, self._connect, schema, self._settings, self._env)

    def next_generation(self) -> Self:
        """Return the one that a rebuild fills, whether there is one or not."""
        return self.generation(f"{self.schema}_next")

    def as_of(self, position: int) -> Self:
        """Return the one that has, or is to have, the view as it was at a position.

        Its tracking is in no shape that a consumer of the view moves.
        """
        schema = f"{self.schema}_at_{position}"
        return type(self)(self.view, self._connect, schema, self._settings, self._env, position)

    async def seal(self, connection: AsyncConnection[Any]) -> None:
        """Say that a view is as it was at its position: nobody moves its tracking any more."""
        await self.tracking.reshape(connection, self._sealed)

    async def is_sealed(self, connection: AsyncConnection[Any]) -> bool:
        """Tell whether it is, by the code that runs."""
        return await self.tracking.shape(connection) == self._sealed

    @property
    def _sealed(self) -> str:
        return f"{self._code} {FILLED} {self._until}"

    def working(
        self, settings: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        """Open a connection that batches are applied on."""
        return self.connected(settings)

    def run(self, work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> Awaitable[T]:
        """Do some work on such a connection: nothing that it waits for blocks."""
        return work(*args)

    def transaction(
        self, connection: Any, *, whole_batch: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction, or a savepoint in one; that of a whole batch has none inside of it.

        Raises why it has failed, if a unit of work has kept that to itself.
        """
        ahead = whole_batch and self.view.sent_ahead and connection.sends_ahead
        return connection.sent_ahead() if ahead else _not_failed(connection)

    async def check_deferred(self, connection: AsyncConnection[Any]) -> None:
        """Have that checked which would be at the end of the transaction only. Raises its error.

        What comes after it waits again. Raises `SessionLostError` if somebody takes constraints
        away meanwhile, as the swap of another view's generations does.
        """
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor = await connection.execute(SELECT_DEFER)
        row = await cursor.fetchone()
        if row and row[0]:
            try:
                await connection.execute(row[0])
            except GONE_MEANWHILE as error:
                raise SessionLostError("somebody else changes the schemas") from error

    @asynccontextmanager
    async def redriving(self, connection: AsyncConnection[Any]) -> AsyncIterator[None]:
        """Begin a transaction in which consumers neither park nor apply anything."""
        async with connection.transaction():
            # A consumer's batch moves the tracking first: either all that it parks is there
            # already, or it waits for the end of our transaction.
            await self.hold(connection)
            yield

    def connected(
        self, settings: Mapping[str, str] = MappingProxyType({})
    ) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        """Open a connection, with `settings` of its session, and close it at the end.

        Without settings it is one of those that are kept open, if any are.
        """
        if self._kept_open and not settings:
            return self._kept_open.connection()
        return connected(settings={**QUIETLY, **settings}, **self._arguments())

    @asynccontextmanager
    async def kept_open(self, connections: int) -> AsyncIterator[None]:
        """Keep up to so many connections open meanwhile, for a program that reads a lot.

        Any number of tasks may read at once, and share them. Who gets none within
        `KEPT_OPEN_SECONDS` is told so by an `OperationalError` of psycopg: `PoolTimeout`, or
        `PostgresUnreachableError`.
        """
        async with self.pool({}, connections, KEPT_OPEN_SECONDS) as pool:
            self._kept_open = pool
            try:
                yield
            finally:
                self._kept_open = None

    def pool(
        self, settings: Mapping[str, str], connections: int, seconds: float = POOL_SECONDS
    ) -> SessionPool:
        """Return a pool of up to so many such connections, to be entered; lost ones are replaced.

        While it gets none, it raises the same after so many `seconds`.
        """
        return SessionPool(
            lambda: {"settings": {**QUIETLY, **settings}, **self._arguments()},
            min_size=1,
            max_size=connections,
            open=False,
            timeout=seconds,
        )

    def _arguments(self) -> dict[str, Any]:
        return {**self._connect(), "application_name": self.view.name}

    async def prepare(
        self, connection: AsyncConnection[Any], partitions: int, *, indexed: bool = True
    ) -> None:
        """Create the schema, the tables and the tracking rows, if they are not there.

        Raises `ShapeChangedError` if they are, and would be created otherwise today, and
        `SessionLostError` if somebody else, such as a restore, makes them meanwhile.
        """
        try:
            await self._prepare(connection, partitions, indexed=indexed)
        except MADE_MEANWHILE as error:
            raise SessionLostError(f"somebody else makes the tables of {self.schema}") from error

    async def _prepare(
        self, connection: AsyncConnection[Any], partitions: int, *, indexed: bool
    ) -> None:
        async with connection.transaction():
            # Of two consumers that start at once, one waits.
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext(%s))", [f"prepare {self.schema}"]
            )
            if not await self.exists(connection):
                await self._create(connection, partitions)
                if indexed:
                    await self.create_indexes(connection)
            await self.check(connection)
            if await self.tracking.count(connection) != partitions:
                raise PartitionsChangedError(self.view, partitions)

    async def exists(self, connection: AsyncConnection[Any]) -> bool:
        """Tell whether the tables have been made."""
        return await self.tracking.shape(connection) is not None

    async def fits(self, connection: AsyncConnection[Any], partitions: int) -> bool:
        """Tell whether the tables are as the code, and the topic, would have them made today."""
        return (
            await self.tracking.shape(connection) == self._shape
            and await self.tracking.count(connection) == partitions
        )

    async def hold(self, connection: AsyncConnection[Any]) -> None:
        """Keep everybody else from moving the tracking until the transaction ends.

        Raises `ViewMissingError` or `ShapeChangedError`.
        """
        try:
            await self.tracking.hold(connection)
        except NOT_THERE as error:
            raise ViewMissingError(self.view) from error
        await self.check(connection)

    async def check(self, connection: AsyncConnection[Any]) -> None:
        """Raise `ViewMissingError` or `ShapeChangedError` unless the tables are as the code is."""
        shape = await self.present_shape(connection)
        if shape is None:
            raise ViewMissingError(self.view)
        if shape != self._shape:
            raise ShapeChangedError(self.view)

    async def present_shape(self, connection: AsyncConnection[Any]) -> str | None:
        """Return in what shape the tables are; None without any.

        Raises `PastError` if they are a view as it was, though nobody has asked for that.
        """
        shape = await self.tracking.shape(connection)
        if self._until is None and " " in (shape or ""):
            raise PastError(self.view, self.schema)
        return shape

    async def create_indexes(self, connection: AsyncConnection[Any]) -> None:
        """Create what makes the view quick to read."""
        await self._execute_all(connection, self.view.indexes)

    async def _create(self, connection: AsyncConnection[Any], partitions: int) -> None:
        cursor = await connection.execute("SHOW server_encoding")
        (encoding,) = await cursor.fetchone() or ("",)
        if encoding != "UTF8":
            raise SettingsError(
                f"The database of {self.view.name} has the encoding {encoding}, and not every text "
                "can be stored in that: make one with ENCODING 'UTF8' TEMPLATE template0."
            )
        # Who owns the schema need not have the right to make others.
        named = sql.Identifier(self.schema).as_string()
        cursor = await connection.execute("SELECT to_regnamespace(%s) IS NULL", [named])
        if await cursor.fetchone() == (True,):
            await connection.execute(self.sql("CREATE SCHEMA {schema}"))
        await self.tracking.create(connection, partitions)
        await self.parking.create(connection)
        await self._execute_all(connection, self.view.create)

    async def _execute_all(
        self, connection: AsyncConnection[Any], statements: Sequence[LiteralString]
    ) -> None:
        for statement in statements:
            await connection.execute(self.sql(statement, **self._settings))

    def sql(self, statement: LiteralString, **literals: str) -> sql.Composed:
        """Return a statement with the schema, and literals by their names, filled in."""
        return sql.SQL(statement).format(
            schema=sql.Identifier(self.schema),
            **{name: sql.Literal(value) for name, value in literals.items()},
        )

    async def wait(
        self,
        position: int,
        originator_id: UUID | str | None = None,
        *,
        seconds: float | None = 10.0,
        look_again: float = LOOK_AGAIN_SECONDS,
    ) -> None:
        """Wait until the view has applied all up to `position`.

        So you read your own writes. It is woken as soon as the view is there. Kafka is asked which
        record of each partition that is; with the `originator_id` of what is at the position given
        it need not be, and only what comes before it in its own partition is waited for. Raises
        `TimeoutError` if it is not there within `seconds`; None waits for ever. Where a NOTIFY can
        be lost, as behind a pooler, it looks again after so many seconds.
        """
        with anyio.fail_after(seconds):
            # One of its own: it would be missed among those that are kept open.
            async with connected(settings=QUIETLY, **self._arguments()) as connection:
                listen = sql.SQL("LISTEN {}").format(sql.Identifier(self.tracking.channel))
                await connection.execute(listen)
                if originator_id is None and not self._knows(position):
                    self._published = await published_from(position, *self._topics())
                while not await self._is_there(connection, position, originator_id):
                    async for _ in connection.notifies(timeout=look_again, stop_after=1):
                        break

    async def has(self, position: int, originator_id: UUID | str | None = None) -> bool:
        """Tell whether the view has applied all up to `position`, as `wait` waits for it."""
        async with self.connected() as connection:
            if await self._is_there(connection, position, originator_id):
                return True
            if originator_id is not None or self._knows(position):
                return False
            self._published = await read_published(*self._topics())
            return await self._is_there(connection, position, originator_id)

    async def _is_there(
        self, connection: AsyncConnection[Any], position: int, originator_id: UUID | str | None
    ) -> bool:
        try:
            if originator_id is None:
                return await self._has_all(connection, position)
            return await self._has(connection, position, str(originator_id).encode())
        except NOT_THERE:
            return False  # No consumer has been here yet.

    async def _has_all(self, connection: AsyncConnection[Any], position: int) -> bool:
        partitions = range(await self.tracking.count(connection))
        tracked = await self.tracking.read(connection, partitions)
        if tracked and all(each.position >= position for each in tracked.values()):
            return True
        links = {number: each.link for number, each in tracked.items()}
        return bool(self._published and self._knows(position) and self._published.is_reached(links))

    def _knows(self, position: int) -> bool:
        """Tell whether a position record is known that says what there is up to a position."""
        return self._published is not None and self._published.position >= position

    def _topics(self) -> tuple[Topics, KafkaSettings]:
        settings = KafkaSettings.from_env(self._env)
        return Topics.of(self.view.application_name, settings), settings

    async def _has(self, connection: AsyncConnection[Any], position: int, key: bytes) -> bool:
        positions = await self.tracking.positions(connection)
        return bool(positions) and positions[partition_of(key, len(positions))] >= position

    async def read_floor(self, _connection: AsyncConnection[Any]) -> int:
        """Return 0: only we fill such a view."""
        return 0

    async def raise_mark(
        self,
        connection: AsyncConnection[Any],
        candidates: Sequence[Published],  # noqa: ARG002 - others need it
    ) -> Mapping[int, Link]:
        """Say nothing: who waits for this view looks at its tracking."""
        rows = await self.tracking.progress(connection)
        return {row.tracking.partition: row.tracking.link for row in rows}

    def why_not(self, again: Again) -> str:  # noqa: ARG002 - others need it
        """Return nothing: whatever is asked for can be done."""
        return ""

    def check_replayable(
        self,
        partitions: Collection[int] | None = None,  # noqa: ARG002 - others need it
    ) -> None:
        """Raise `NotReplayableError` for a view that records events of its own."""
        replayable(self)

    async def replay(
        self, connection: AsyncConnection[Any], partitions: Collection[int] | None = None
    ) -> None:
        """Forget what was applied of some partitions, or of all.

        Running consumers find the tracking moved, and start over. What was dropped stays so.
        Raises `NotReplayableError` for a view that records events of its own.
        """
        self.check_replayable(partitions)
        async with connection.transaction():
            await self.hold(connection)
            numbers = list(partitions or range(await self.tracking.count(connection)))
            for table in (*self.view.tables, "parked"):
                await connection.execute(
                    sql.SQL("DELETE FROM {} WHERE partition = ANY(%s)").format(
                        sql.Identifier(self.schema, table)
                    ),
                    [numbers],
                )
            await self.tracking.reset(connection, numbers)
            await self.tracking.notify(connection)

    def check_removable(self) -> None:
        """Raise `NotRemovableError` for a view that does not say which rows an aggregate has."""
        view = self.view
        if not view.subtract and set(view.tables) - set(view.aggregate_columns):
            raise NotRemovableError(view)

    async def remove_aggregate(self, connection: AsyncConnection[Any], originator_id: str) -> None:
        """Take an aggregate out of the view's tables. Its tracking stays as it is."""
        aggregate = {"aggregate": originator_id}
        for statement in self.view.subtract:
            await connection.execute(self.sql(statement), aggregate)
        for table, column in self.view.aggregate_columns.items():
            delete = sql.SQL("DELETE FROM {} WHERE {} = %(aggregate)s").format(
                sql.Identifier(self.schema, table), sql.Identifier(column)
            )
            await connection.execute(delete, aggregate)

    async def move(self, connection: AsyncConnection[Any], move: Move) -> bool:
        """Move one partition without applying anything; False if it is not as it was seen."""
        async with connection.transaction():
            have_moved = await self.tracking.move(connection, [move])
            return await have_moved()

    async def skip(self, connection: AsyncConnection[Any], skip: Skip) -> None:
        """Have records passed over that are not applied yet, and record that for ever.

        They are still read, as far as Kafka has them: the view takes note of their versions.
        """
        async with connection.transaction():
            have_moved = await self.tracking.move(connection, [Move(skip.seen, skip.seen)])
            if await have_moved():
                await self.parking.record_skip(connection, skip)


@asynccontextmanager
async def _not_failed(connection: Session) -> AsyncIterator[None]:
    """Begin a transaction. Raises `InFailedSqlTransaction` if it has failed without a word.

    Postgres rolls back what has failed when it is to commit it, and calls that no error.
    """
    async with connection.transaction():
        yield
        if connection.info.transaction_status is TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction(KEPT)


def group_of(store: Store, settings: KafkaSettings) -> str:
    """Return the name of the Kafka group of those who keep a view up to date."""
    return f"{settings.group_prefix}{store.schema}"


def replayable(store: Store, again: Again = Again.REPLAYED) -> ViewStore:
    """Return a view that can be emptied and filled anew. Raises `NotReplayableError`."""
    if isinstance(store, ViewStore) and store.capabilities.replayable:
        return store
    raise NotReplayableError(store.view.name, store.why_not(again), again)


def _warn_of_slips(view: View, env: Mapping[str, str]) -> None:
    """Name variables that are nearly a setting of the view, or of all that is in Postgres."""
    library = {value for name, value in vars(BasePostgresFactory).items() if name.isupper()}
    library |= {POSTGRES_PASSWORD + FILE, PostgresFactory.PERSISTENCE_MODULE}
    prefix = f"{view.name.upper()}_"
    known = library | {prefix + name for name in (*library, *map(str.upper, view.settings))}
    candidates = [name for name in env if name.startswith((prefix, "POSTGRES_"))]
    warn_of_unknown(slips(candidates, known), known)


def _fingerprint(view: View, settings: Mapping[str, str]) -> str:
    """Return what changes when the view's tables would be made otherwise."""
    shape = (CREATE_TRACKING, MAKE, view.create, view.indexes, sorted(settings.items()))
    return sha256(repr(shape).encode()).hexdigest()[:16]
