"""How a follower reads its leader's events, with the leader out of reach."""

from __future__ import annotations

import os
from typing import Any

from eventsourcing.application import Application
from eventsourcing.persistence import Mapper
from eventsourcing.popo import POPOFactory
from eventsourcing.utils import Environment, EnvType


def mapper_of(
    leader: type[Application[Any]], follower: Application[Any], env: EnvType | None
) -> Mapper[Any]:
    """Return a mapper for a leader's events: its settings and keys, the follower's transcodings.

    The leader's database is not needed for that, and may be out of reach.
    """
    named = Environment(leader.name, {**leader.env, **os.environ, **(env or {})})
    mapper: Mapper[Any] = POPOFactory(named).mapper(follower.construct_transcoder())
    return mapper


def mapper_of_leader(leader: type[Application[Any]], env: EnvType | None) -> Mapper[Any]:
    """Return a leader's own mapper, as a runner of projections uses it.

    The leader is made in memory for that: its database may be out of reach.
    """
    in_memory = {f"{leader.name.upper()}_PERSISTENCE_MODULE": "eventsourcing.popo"}
    with leader({**(env or {}), **in_memory}) as app:
        return app.mapper
