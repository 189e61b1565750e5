"""Which values settings can have, as far as that is known without any server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from eventsourcing.utils import resolve_topic, strtobool

from eventsourcing_kafka.producer.kafka.security import SECRETS
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.pipeline import near_miss

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
AtLeastZero = Annotated[int, msgspec.Meta(ge=0)]

PERSISTENCE_MODULES = (
    "eventsourcing.postgres",
    "eventsourcing.sqlite",
    "eventsourcing.popo",
    "eventsourcing.dcb.postgres_tt",
    "eventsourcing_sqlalchemy",
    "eventsourcing_kafka.producer.cassandra",
)
"""Those that are meant by what is nearly called so. There may be others."""

OF_KAFKA: Mapping[str, Any] = {
    field.encode_name: field.type
    for field in msgspec.structs.fields(KafkaSettings)
    if field.encode_name not in SECRETS
}
"""They are the same for all, so no name is before them."""

TYPES: Mapping[str, Any] = {
    **OF_KAFKA,
    "POSTGRES_PORT": Port,
    "POSTGRES_CONNECT_TIMEOUT": AtLeastZero,
    "POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT": AtLeastZero,
    "POSTGRES_POOL_SIZE": AtLeastZero,
    "POSTGRES_MAX_OVERFLOW": AtLeastZero,
    "POSTGRES_MAX_WAITING": AtLeastZero,
    "POSTGRES_LOCK_TIMEOUT": AtLeastZero,
    "POSTGRES_CONN_MAX_AGE": float,
    "SQLITE_LOCK_TIMEOUT": AtLeastZero,
    "CASSANDRA_PORT": Port,
    "ORIGINATOR_ID_TYPE": Literal["uuid", "text"],
}


def wrong_value(name: str, value: str | int) -> str | None:
    """Return what is wrong with the value of a setting; None if nothing is known to be.

    The name of whose setting it is may be before its own. An empty value is none.
    """
    for known, check in CHECKS.items():
        if value != "" and (
            name == known or (name.endswith(f"_{known}") and known not in OF_KAFKA)
        ):
            return check(name, str(value))
    return None


def _of_type(expected: Any) -> Callable[[str, str], str | None]:
    def check(name: str, value: str) -> str | None:
        try:
            msgspec.convert(value, expected, strict=False)
        except msgspec.ValidationError as error:
            return f"{name} is {value!r}: {error}"
        return None

    return check


def _yes_or_no(name: str, value: str) -> str | None:
    try:
        strtobool(value)
    except ValueError:
        return f"{name} is {value!r}: say yes or no"
    return None


def _imported(name: str, value: str) -> str | None:
    try:
        resolve_topic(value)
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        meant = near_miss(value, PERSISTENCE_MODULES)
        said = " ".join(str(error).split())
        return f"{name} can't be imported: " + (
            f"there is no {value}: did you mean {meant}?" if meant else f"{value}: {said}"
        )
    return None


CHECKS: Mapping[str, Callable[[str, str], str | None]] = {
    **{name: _of_type(expected) for name, expected in TYPES.items()},
    **dict.fromkeys(
        (
            "CREATE_TABLE",
            "POSTGRES_PRE_PING",
            "POSTGRES_ENABLE_DB_FUNCTIONS",
            "SINGLE_ROW_TRACKING",
            "IS_SNAPSHOTTING_ENABLED",
        ),
        _yes_or_no,
    ),
    **dict.fromkeys(
        (
            "PERSISTENCE_MODULE",
            "TRANSCODER_TOPIC",
            "MAPPER_TOPIC",
            "CIPHER_TOPIC",
            "COMPRESSOR_TOPIC",
            "APPLICATION_RECORDER_TOPIC",
            "TRACKING_RECORDER_TOPIC",
            "PROCESS_RECORDER_TOPIC",
            "POSTGRES_GET_PASSWORD_TOPIC",
        ),
        _imported,
    ),
}
