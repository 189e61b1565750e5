"""Every event of every system can be published and read again, as JSON and as ciphertext."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.system import Runner, SingleThreadedRunner, System

import examples.counters.system
import examples.halloffame.system
import tests.systems.census.system
from eventsourcing_kafka.producer.wire import EventTypes, WireFormat
from examples.counters.domainmodel import Counter
from examples.dogschool.domainmodel import Dog
from examples.game.domainmodel import Player
from examples.halloffame.domainmodel import HighScoreTable
from tests.chains import linked
from tests.systems.census.domainmodel import Population
from tests.systems.everything.domainmodel import ExampleAggregateRoot

from . import test_dog_school, test_everything, test_hall_of_fame, untyped
from .running import Settle, at_once
from .storing import POPO, Place


@dataclass(frozen=True)
class Published:
    """A system, what happens in it, and whose events each of its applications publishes."""

    system: System
    play: Callable[[Runner[UUID], Settle], None]
    aggregates: dict[str, type[Any]]


SYSTEMS = {
    "dog school": Published(
        examples.counters.system.system,
        test_dog_school.play,
        {"DogSchool": Dog, "Counters": Counter},
    ),
    "untyped dog school": Published(
        untyped.system,
        partial(
            test_dog_school.play,
            school_class=untyped.DogSchool,
            counters_class=untyped.Counters,
        ),
        {"DogSchool": untyped.Dog, "Counters": untyped.Counter},
    ),
    "hall of fame": Published(
        examples.halloffame.system.system,
        test_hall_of_fame.play,
        {"Game": Player, "HallOfFame": HighScoreTable},
    ),
    "everything": Published(
        tests.systems.census.system.system,
        test_everything.play,
        {"EverythingApplication": ExampleAggregateRoot, "Census": Population},
    ),
}


@pytest.mark.parametrize("decrypt", [True, False], ids=["JSON", "ciphertext"])
@pytest.mark.parametrize("published", SYSTEMS.values(), ids=SYSTEMS)
def test_every_event_survives_the_wire(published: Published, place: Place, decrypt: bool) -> None:
    system = published.system
    env = POPO.encrypted().environment(place, system)
    with SingleThreadedRunner[UUID](system, env) as runner:
        published.play(runner, at_once)
        for name, aggregate in published.aggregates.items():
            app: Application[UUID] = runner.get(system.get_app_cls(name))
            writer = WireFormat.of(app, decrypt=decrypt)
            reader = WireFormat(name, EventTypes.of(aggregate), app.mapper)
            for notification in app.recorder.select_notifications(None, 1000):
                record = linked(writer.to_record(notification))
                again = reader.to_event(reader.envelope(record.key, record.headers), record.value)
                assert again == app.mapper.to_domain_event(notification)
