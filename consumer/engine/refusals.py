"""Which errors are of what an event brings: it is that event which can't be applied, and no other.

All others are of the program, as a table that is not there, or of a server. They end a consumer, or
are waited out: each event would meet them.
"""

from __future__ import annotations

import psycopg
from eventsourcing.persistence import DataError, IntegrityError, InternalError

from eventsourcing_kafka.producer.runtime.retry import is_of_values

CONFLICTS = (IntegrityError, InternalError, psycopg.errors.InFailedSqlTransaction)
"""What an event shows that conflicts with what somebody else has recorded meanwhile: the library's
error, as only hosted applications record events, or one that comes of going on after it."""


class PartlyAppliedError(Exception):
    """Of events that were applied together, one has failed and left a part of what it does."""


REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    UnicodeError,
    DataError,
    PartlyAppliedError,
    psycopg.errors.PipelineAborted,
    *CONFLICTS,
)
"""What psycopg, or the library, says of values without a code of Postgres's. Also that the
transaction, or what was sent ahead in it, has failed: then a policy has kept the reason to itself.
"""


def is_refusal(error: BaseException) -> bool:
    """Tell whether what an event brings is refused, by Postgres or by the library around it."""
    return isinstance(error, REFUSALS) or is_of_values(error)


def is_refused_in_writing(error: BaseException) -> bool:
    """Also tell so of what Python says of values that do not go together.

    Such are times without a zone beside others.
    """
    return isinstance(error, (TypeError, ValueError)) or is_refusal(error)
