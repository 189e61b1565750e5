"""Up to which position a follower has passed everything, over all partitions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from eventsourcing.persistence import InfrastructureFactory, Tracking
from eventsourcing.utils import Environment
from psycopg.sql import SQL, Identifier

from eventsourcing_kafka.compose.runner import KafkaProjectionRunner
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.producer.kafka.topics import partition_of
from eventsourcing_kafka.producer.wire.chain import Link
from eventsourcing_kafka.producer.wire.position import NOTHING, Published, Said
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from examples.tricks.postgres import PostgresTricksView
from examples.tricks.sqlite import SQLiteTricksView
from tests.pipeline import SECONDS, until

from .nursing import CannotTakeError, Squeamish

Env = dict[str, str]
Constructed = dict[str, Any]

PARTITIONS = 3
EVENTS = 100

SAID = Published(7, 3, "a relay", [Said(7, "a7", 9, "", 0), Said(4, "a4", 5, "", 0), NOTHING])


@pytest.mark.parametrize(
    ("links", "is_reached"),
    [
        ({0: Link(7, "a7"), 1: Link(4, "a4"), 2: Link(0, "")}, True),
        ({0: Link(8, "a8"), 1: Link(9, "a9"), 2: Link(3, "a3")}, True),
        ({0: Link(7, ""), 1: Link(4, "a4"), 2: Link(0, "")}, True),
        ({0: Link(6, "a6"), 1: Link(4, "a4"), 2: Link(0, "")}, False),
        ({0: Link(7, "b7"), 1: Link(4, "a4"), 2: Link(0, "")}, False),
        ({0: Link(9, "a9"), 1: Link(0, ""), 2: Link(8, "a8")}, False),
        ({0: Link(7, "a7"), 1: Link(4, "a4")}, False),
        ({}, False),
    ],
    ids=[
        "exactly",
        "beyond",
        "identity not known",
        "one behind",
        "another event",
        "one not begun",
        "one partition less",
        "nothing tracked",
    ],
)
def test_a_position_record_is_reached_when_each_partition_is(
    links: dict[int, Link], is_reached: bool
) -> None:
    assert SAID.is_reached(links) is is_reached


@pytest.fixture(params=[PostgresTricksView, SQLiteTricksView], ids=["Postgres", "SQLite"])
def constructed(request: pytest.FixtureRequest, env: Env, tmp_path: Path) -> Constructed:
    """What a runner is constructed with, of a projection that can't take poison."""
    view_class: type[Any] = request.param
    env = {**env, "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)}
    if view_class is SQLiteTricksView:
        module, dbname = "eventsourcing.sqlite", str(tmp_path / "squeamish")
        env = {**env, "SQUEAMISH_PERSISTENCE_MODULE": module, "SQUEAMISH_SQLITE_DBNAME": dbname}
    return {
        "application_class": DogSchool,
        "projection_class": Squeamish,
        "view_class": view_class,
        "env": env,
    }


def dogs_of_other_partitions(name: str, partitions: int = PARTITIONS) -> list[str]:
    """Return names of dogs, one for each partition that is not this dog's."""

    def partition(name: str) -> int:
        return partition_of(str(Dog.create_id(name)).encode(), partitions)

    found = {partition(each): each for each in (f"Dog {number}" for number in range(200))}
    return [each for number, each in found.items() if number != partition(name)]


def test_what_is_parked_is_passed(constructed: Constructed) -> None:
    with KafkaProjectionRunner(**constructed, on_error=OnError.PARK) as runner:
        runner.app.register_dog("Billy")
        runner.app.add_trick("Billy", "poison")
        position = runner.app.add_trick("Billy", "sit")
        runner.wait(position, timeout=SECONDS)
        assert runner.view.get_count("sit") == 0


def test_what_has_stopped_is_not_passed(constructed: Constructed) -> None:
    with KafkaProjectionRunner(**constructed, on_error=OnError.STOP) as runner:
        before = runner.app.register_dog("Billy")
        runner.wait(before, timeout=SECONDS)
        runner.app.add_trick("Billy", "poison")
        for name in dogs_of_other_partitions("Billy"):
            runner.app.register_dog(name)
            runner.app.add_trick(name, "sit")
        anyio.run(until, is_so(lambda: runner.view.get_count("sit") == PARTITIONS - 1))
        with pytest.raises(TimeoutError):
            runner.wait(before + 1)
        assert runner.view.max_tracking_id("DogSchool") == before


def is_so(ask: Callable[[], bool]) -> Callable[[], Any]:
    async def asked() -> bool:
        return ask()

    return asked


def test_a_projection_that_ends_with_an_error_has_not_passed_its_event(
    constructed: Constructed,
) -> None:
    with KafkaProjectionRunner(**constructed) as runner:
        before = runner.app.register_dog("Billy")
        runner.wait(before, timeout=SECONDS)
        runner.app.add_trick("Billy", "poison")
        with pytest.raises(CannotTakeError):
            runner.run_forever(timeout=SECONDS)
        assert runner.view.max_tracking_id("DogSchool") == before


def test_two_that_share_the_partitions_come_to_the_end_together(constructed: Constructed) -> None:
    with (
        KafkaProjectionRunner(**constructed) as one,
        KafkaProjectionRunner(**constructed) as other,
    ):
        for name in ("Billy", *dogs_of_other_partitions("Billy")):
            one.app.register_dog(name)
            position = one.app.add_trick(name, "sit")
            for runner in (other, one):
                runner.wait(position, timeout=SECONDS)
        assert one.view.get_count("sit") == other.view.get_count("sit") == PARTITIONS


def test_nothing_at_or_below_what_the_library_has_tracked_is_applied(
    constructed: Constructed,
) -> None:
    """Not even parked: it would be applied by a retry."""
    with DogSchool(constructed["env"]) as school:
        school.register_dog("Billy")
        for trick in ("sit", "poison", "beg"):
            applied = school.add_trick("Billy", trick)
        school.add_trick("Billy", "roll over")
    with opened_view(constructed) as view:
        view.insert_tracking(Tracking("DogSchool", applied))
    with KafkaProjectionRunner(**constructed) as runner:
        runner.wait(applied + 1, timeout=SECONDS)
        assert [runner.view.get_count(trick) for trick in ("sit", "beg", "roll over")] == [0, 0, 1]


def test_it_is_never_higher_than_what_is_applied(constructed: Constructed) -> None:
    """Looked at all the time, while two consumers share what comes."""
    dogs = ["Billy", *dogs_of_other_partitions("Billy")]
    taught: dict[int, int] = {}
    marks = set()
    with (
        KafkaProjectionRunner(**constructed) as one,
        KafkaProjectionRunner(**constructed) as other,
        opened_view(constructed) as view,
    ):
        for name in dogs:
            one.app.register_dog(name)

        def teach() -> None:
            for number in range(1, EVENTS + 1):
                position = one.app.add_trick(dogs[number % len(dogs)], "sit")
                taught[position] = number

        teaching = Thread(target=teach)
        teaching.start()
        while teaching.is_alive() or view.get_count("sit") < EVENTS:
            mark = view.max_tracking_id("DogSchool") or 0
            count = view.get_count("sit")
            known = [number for position, number in list(taught.items()) if position <= mark]
            assert count >= max(known, default=0)
            marks.add(mark)
        teaching.join()
        for runner in (one, other):
            runner.wait(max(taught), timeout=SECONDS)
    assert len(marks) > 2


def test_it_comes_again_where_a_consumer_has_ended_before_it_was_written(
    constructed: Constructed,
) -> None:
    with KafkaProjectionRunner(**constructed) as runner:
        runner.app.register_dog("Billy")
        position = runner.app.add_trick("Billy", "sit")
        runner.wait(position, timeout=SECONDS)
    with opened_view(constructed) as view:
        forget(view)
        assert view.max_tracking_id("DogSchool") is None
    with KafkaProjectionRunner(**constructed) as runner:
        runner.wait(position, timeout=SECONDS)
        assert runner.view.get_count("sit") == 1


def forget(view: Any) -> None:
    """Delete the mark."""
    if isinstance(view, SQLiteTricksView):
        with view.datastore.transaction(commit=True) as cursor:
            cursor.execute("DELETE FROM tracking WHERE application_name = 'DogSchool'")
        return
    table = Identifier(view.datastore.schema, view.tracking_table_name)
    with view.datastore.get_connection() as connection:
        connection.execute(SQL("DELETE FROM {} WHERE application_name = 'DogSchool'").format(table))


@contextmanager
def opened_view(constructed: Constructed) -> Iterator[Any]:
    env = Environment(Squeamish.name, constructed["env"])
    with InfrastructureFactory[Any].construct(env) as factory:
        yield factory.tracking_recorder(constructed["view_class"])
