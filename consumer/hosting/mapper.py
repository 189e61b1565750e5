"""How a follower reads its leader's events, with the leader out of reach."""

from __future__ import annotations

import os
from typing import Any

from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.persistence import Mapper
from eventsourcing.popo import POPOFactory
from eventsourcing.utils import Environment, EnvType

from eventsourcing_kafka.producer.runtime.errors import SettingsError


def mapper_of(
    leader: type[Application[Any]], follower: Application[Any], env: EnvType | None
) -> Mapper[Any]:
    """Return a mapper for a leader's events: its settings and keys, the follower's transcodings.

    The leader's database is not needed for that, and may be out of reach.
    """
    named = Environment(leader.name, {**leader.env, **os.environ, **(env or {})})
    mapper: Mapper[Any] = POPOFactory(named).mapper(follower.construct_transcoder())
    return mapper


def mapper_of_leader(
    leader: type[Application[Any] | DCBApplication], env: EnvType | None
) -> Mapper[Any] | DCBMapper[Any]:
    """Return a leader's own mapper, as a runner of projections uses it.

    The leader is made in memory for that: its database may be out of reach.
    """
    tagged = issubclass(leader, DCBApplication)
    module = "eventsourcing.dcb.popo" if tagged else "eventsourcing.popo"
    with leader({**(env or {}), f"{leader.name.upper()}_PERSISTENCE_MODULE": module}) as app:
        return mapper_in(app)


def mapper_in(app: Application[Any] | DCBApplication) -> Mapper[Any] | DCBMapper[Any]:
    """Return an application's own mapper. Raises `SettingsError` if it has none."""
    mapper: Mapper[Any] | DCBMapper[Any] | None = getattr(app, "mapper", None)
    if mapper is None:
        raise SettingsError(
            f"{app.name} has no mapper, so nothing tells how its decisions are stored: set "
            "MAPPER_TOPIC. The library's own is eventsourcing.dcb.msgpack:MessagePackMapper."
        )
    return mapper
