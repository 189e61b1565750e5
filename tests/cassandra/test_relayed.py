"""What is stored in Cassandra is read as from any outbox."""

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

__all__ = [
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
