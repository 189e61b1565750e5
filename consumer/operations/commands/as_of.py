"""What `eventsourcing-kafka consumer rebuild` does about a view as it was at a position."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

import msgspec
import typer
from rich.console import Console

from eventsourcing_kafka.consumer.engine.protocol import Store
from eventsourcing_kafka.consumer.operations.as_of import (
    AsOf,
    ViewAsOf,
    drop_generation,
    generations,
)
from eventsourcing_kafka.consumer.operations.commands import messages
from eventsourcing_kafka.consumer.operations.commands.filling import shown_filling
from eventsourcing_kafka.consumer.operations.filling import Source
from eventsourcing_kafka.consumer.operations.history import position_at, write_model_of
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.output import confirm, table_of, tell

LONGEST = 30
"""Digits: none beyond is of a position, and Python would refuse to read thousands."""


def moment(text: str) -> int | datetime:
    """Return the position, or the time, that a view is to be as of."""
    if text.isascii() and text.isdecimal() and len(text) <= LONGEST and int(text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a position, which is 1 or more, nor a time, as "
            "2026-01-31T18:00:00Z.",
            param_hint="--until",
        ) from None
    if time.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} says no zone: {time.isoformat()}Z is in UTC, "
            f"{time.isoformat()}+01:00 an hour ahead of it.",
            param_hint="--until",
        )
    return time


class Asked(NamedTuple):
    """What a command line asks for: one of these, or none."""

    until: str | None
    drop: str | None
    listed: bool

    @property
    def anything(self) -> bool:
        """Whether it is about a view as it was at all."""
        return self.until is not None or self.drop is not None or self.listed

    def check_alone(self, others: Mapping[str, bool]) -> None:
        """Raise typer's `BadParameter` if it asks for something else besides."""
        ours = {
            "--until": self.until is not None,
            "--drop": self.drop is not None,
            "--list": self.listed,
        }
        first, *more = [option for option, is_there in {**ours, **others}.items() if is_there]
        if more:
            raise typer.BadParameter(f"leave {more[0]}: it does not go with {first}.")

    def do(
        self,
        store: Store,
        env: Mapping[str, str],
        source: Source,
        *,
        anew: bool,
        yes: bool,
        as_json: bool,
    ) -> None:
        """Do it, and say what came of it."""
        if self.until is not None:
            _make(store, env, moment(self.until), source, anew=anew, as_json=as_json)
        elif self.drop is not None:
            _drop(store, self.drop, yes=yes, as_json=as_json)
        else:
            _show_all(store, as_json=as_json)


def _make(
    store: Store,
    env: Mapping[str, str],
    until: int | datetime,
    source: Source,
    *,
    anew: bool,
    as_json: bool,
) -> None:
    with shown_filling(f"{store.view.name} as it was") as (report, _):

        async def made() -> AsOf:
            position = until
            if isinstance(position, datetime):
                position = await position_at(position, store.view, env)
            settings, write_model = KafkaSettings.from_env(env), write_model_of(store.view, env)
            past = ViewAsOf(store, settings, position, write_model=write_model, source=source)
            return await past.run(report, anew=anew)

        found = finished(made)
    facts = {"view": store.view.name, **msgspec.to_builtins(found)}
    tell(messages.made_as_of(store.view, found), facts, as_json=as_json)


def _drop(store: Store, schema: str, *, yes: bool, as_json: bool) -> None:
    confirm(messages.may_drop_as_of(store.view.name, schema), yes=yes)
    finished(partial(drop_generation, store, schema))
    facts = {"view": store.view.name, "dropped": schema}
    tell(messages.dropped_as_of(store.view.name, schema), facts, as_json=as_json)


def _show_all(store: Store, *, as_json: bool) -> None:
    found = finished(partial(generations, store))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    elif found:
        lines = [_Line(each.schema, each.position, each.is_whole, each.parked) for each in found]
        Console().print(table_of(lines, _Line))
    else:
        typer.echo(messages.none_as_of(store.view))


class _Line(msgspec.Struct, frozen=True):
    schema: str
    position: int
    is_whole: bool
    parked: int
