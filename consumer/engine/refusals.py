"""Which errors are of what an event brings: it is that event which can't be applied, and no other.

All others are of the program, as a table that is not there, or of a server. They end a consumer, or
are waited out: each event would meet them.
"""

from __future__ import annotations

import psycopg
from eventsourcing.persistence import DataError, IntegrityError, InternalError, PersistenceError

CONFLICTS = (IntegrityError, InternalError, psycopg.errors.InFailedSqlTransaction)
"""What an event shows that conflicts with what somebody else has recorded meanwhile: the library's
error, as only hosted applications record events, or one that comes of going on after it."""


class PartlyAppliedError(Exception):
    """Of events that were applied together, one has failed and left a part of what it does."""


REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    UnicodeError,
    DataError,
    PartlyAppliedError,
    psycopg.errors.PipelineAborted,
    *CONFLICTS,
)
"""What Postgres, or the library, says of values that it does not take. Also that the transaction,
or what was sent ahead in it, has failed: then a policy has kept the reason to itself."""

OF_VALUES = ("20", "21", "27", "2F", "38", "39", "44", "P0")
"""Classes of errors that are of values, too, and that psycopg files under those of a program or of
the server: of a trigger or a function that raises, of a row that is written twice by a statement,
and of one that a view does not take.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


def is_refusal(error: BaseException) -> bool:
    """Tell whether what an event brings is refused, by Postgres or by the library around it."""
    said = error.__cause__ if isinstance(error, PersistenceError) else error
    return isinstance(error, REFUSALS) or (
        isinstance(said, psycopg.DatabaseError) and _is_of_values(said)
    )


def is_refused_in_writing(error: BaseException) -> bool:
    """Also tell so of what Python says of values that do not go together.

    Such are times without a zone beside others.
    """
    return isinstance(error, (TypeError, ValueError)) or is_refusal(error)


def _is_of_values(error: psycopg.DatabaseError) -> bool:
    """Tell whether a code is of values; one that psycopg does not know is of a trigger's author."""
    code = error.sqlstate or ""
    return code[:2] in OF_VALUES or (bool(code) and type(error) is psycopg.DatabaseError)
