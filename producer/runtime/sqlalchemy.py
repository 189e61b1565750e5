"""Applications that store through SQLAlchemy: `eventsourcing_sqlalchemy`, the extra `sqlalchemy`.

Nothing here imports it before somebody has: who has such a recorder has done so.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore
    from eventsourcing_sqlalchemy.recorders import SQLAlchemyRecorder
    from sqlalchemy import Engine

POSTGRES, SQLITE = "postgresql", "sqlite"
"""What SQLAlchemy calls the two databases that are known here."""


def is_sqlalchemy(recorder: object) -> TypeGuard[SQLAlchemyRecorder]:
    """Tell whether a recorder stores through SQLAlchemy."""
    recorders = sys.modules.get("eventsourcing_sqlalchemy.recorders")
    return recorders is not None and isinstance(recorder, recorders.SQLAlchemyRecorder)


def engine_of(datastore: SQLAlchemyDatastore) -> Engine:
    """Return the engine of a datastore; that of its scoped session, if it has one."""
    assert datastore.engine is not None  # noqa: S101 - whoever has a recorder has set it up
    return datastore.engine.engine


def dialect_of(recorder: object) -> str | None:
    """Return in which database a recorder stores through SQLAlchemy; None if it does not."""
    return engine_of(recorder.datastore).dialect.name if is_sqlalchemy(recorder) else None


def libpq_arguments(datastore: SQLAlchemyDatastore) -> dict[str, Any]:
    """Return the arguments with which psycopg connects to what an engine's URL names.

    Whatever driver the engine itself has.
    """
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

    dialect: Any = PGDialect_psycopg
    _, arguments = dialect().create_connect_args(engine_of(datastore).url)
    return dict(arguments)


def driver_error(error: BaseException) -> BaseException | None:
    """Return what the driver has raised, if an error is SQLAlchemy's about that.

    The library makes its own of them, but not of what is refused before a transaction begins.
    """
    errors = sys.modules.get("sqlalchemy.exc")
    return error.orig if errors is not None and isinstance(error, errors.DBAPIError) else None
