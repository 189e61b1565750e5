"""What is stored in Cassandra is relayed, and followed into Postgres."""

from collections.abc import Iterator

import pytest

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from tests.outbox.test_contract import (
    test_a_reader_that_has_caught_up_is_woken_by_a_writer,
    test_an_aggregate_is_read_in_its_order_up_to_a_position,
    test_an_empty_batch_says_that_there_was_no_more,
    test_an_empty_store_is_waited_for,
    test_batches_are_full_while_there_is_a_backlog,
    test_notifications_come_in_the_order_of_their_positions,
    test_readers_do_not_disturb_each_other,
    test_reading_goes_on_after_a_position,
    test_the_head_is_the_highest_position,
    test_the_head_of_an_empty_store_is_zero,
    test_what_is_read_is_what_the_library_reads,
)
from tests.systems.census.application import Census
from tests.systems.census.system import system
from tests.systems.conftest import place, stage
from tests.systems.everything.application import EverythingApplication
from tests.systems.everything.domainmodel import ExampleAggregateRoot
from tests.systems.staging import Stage, over
from tests.systems.storing import CASSANDRA_AND_POSTGRES
from tests.systems.test_everything import play

__all__ = [
    "place",
    "stage",
    "test_a_reader_that_has_caught_up_is_woken_by_a_writer",
    "test_an_aggregate_is_read_in_its_order_up_to_a_position",
    "test_an_empty_batch_says_that_there_was_no_more",
    "test_an_empty_store_is_waited_for",
    "test_batches_are_full_while_there_is_a_backlog",
    "test_notifications_come_in_the_order_of_their_positions",
    "test_readers_do_not_disturb_each_other",
    "test_reading_goes_on_after_a_position",
    "test_the_head_is_the_highest_position",
    "test_the_head_of_an_empty_store_is_zero",
    "test_what_is_read_is_what_the_library_reads",
]


@pytest.fixture
def app(keyspace: dict[str, str], token: str) -> Iterator[ContentManagement]:
    """The write model of the contract of outboxes, on tables of its own."""

    class Wiki(ContentManagement):
        name = token

    with Wiki(keyspace) as app:
        yield app


@over([CASSANDRA_AND_POSTGRES])
def test_everything_goes_on_when_the_system_is_reopened(stage: Stage) -> None:
    with stage.run(system) as runner:
        play(runner, stage.settle)
        living = set(runner.get(Census).get_living())

    with stage.run(system) as runner:
        app = runner.get(EverythingApplication)
        newborn = ExampleAggregateRoot(foo="late")
        dying = app.get_example_aggregate(living.pop())
        dying.discard()
        app.save(newborn, dying)
        stage.settle(runner)
        assert set(runner.get(Census).get_living()) == living | {newborn.id}
