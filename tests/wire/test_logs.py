"""What is said of an error, on one line."""

from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError

from eventsourcing_kafka.producer.runtime.logs import message_of


def test_what_is_not_granted_comes_with_what_to_do() -> None:
    refused = message_of(TopicAuthorizationFailedError("roses.events"))
    assert "roses.events" in refused
    assert refused.endswith("eventsourcing-kafka compose grants kafka")


def test_other_errors_say_what_they_say_and_one_without_words_its_name() -> None:
    assert message_of(KafkaTimeoutError("too late")) == "KafkaTimeoutError: too late"
    assert message_of(ValueError()) == "ValueError"
