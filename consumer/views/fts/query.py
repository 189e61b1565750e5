"""What may be searched for."""

from __future__ import annotations

from eventsourcing_kafka.producer.runtime.errors import SettingsError


def checked(query: str) -> str:
    """Return the query. Raises `SettingsError` if it is one that no page could hold."""
    if "\0" in query:
        raise SettingsError("A query can't hold a NUL character.")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise SettingsError("A query must be text: it holds a lone surrogate.") from error
    return query
