"""Where records are found: partitions as Java's clients choose them, names, and settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of

JAVAS_MURMUR2 = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""The vectors of Kafka's own tests, signed as Java's int is."""


@pytest.mark.parametrize(("key", "signed"), JAVAS_MURMUR2.items())
@pytest.mark.parametrize("partitions", [1, 2, 3, 8, 1000, 2**31 - 1])
def test_a_key_goes_to_the_partition_that_java_chooses(
    key: bytes, signed: int, partitions: int
) -> None:
    assert partition_of(key, partitions) == (signed & 0x7FFFFFFF) % partitions


@given(st.binary(), st.integers(1, 1000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


def test_topics_are_named_after_the_application() -> None:
    topics = Topics.of("ContentManagement", KafkaSettings(topic_prefix="test."))

    assert topics == Topics("test.contentmanagement.events", "test.contentmanagement.position")


def test_settings_come_from_the_environment() -> None:
    settings = KafkaSettings.from_env(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "one:1,two:2",
            "KAFKA_TOPIC_PREFIX": "t.",
            "KAFKA_GROUP_PREFIX": "g.",
            "KAFKA_TOPIC_PARTITIONS": "3",
            "KAFKA_TOPIC_REPLICATION_FACTOR": "2",
            "KAFKA_REQUEST_TIMEOUT_MS": "5000",
            "HOME": "/home/ada",
        }
    )

    assert settings == KafkaSettings(
        bootstrap_servers="one:1,two:2",
        topic_prefix="t.",
        group_prefix="g.",
        topic_partitions=3,
        topic_replication_factor=2,
        request_timeout_ms=5000,
    )
    assert settings.client() == {
        "bootstrap_servers": ["one:1", "two:2"],
        "request_timeout_ms": 5000,
    }


def test_settings_that_are_missing_or_empty_have_their_defaults() -> None:
    assert KafkaSettings.from_env({"KAFKA_TOPIC_PARTITIONS": ""}) == KafkaSettings()


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "zstd"), ({"KAFKA_COMPRESSION_TYPE": "none"}, None)]
)
def test_records_are_compressed_as_the_settings_say(
    given: dict[str, str], expected: str | None
) -> None:
    assert KafkaSettings.from_env(given).compression() == expected


def test_a_compression_that_kafka_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="KAFKA_COMPRESSION_TYPE"):
        KafkaSettings.from_env({"KAFKA_COMPRESSION_TYPE": "brotli"})


@pytest.mark.parametrize(
    "variable",
    [
        *("KAFKA_TOPIC_PARTITIONS", "KAFKA_TOPIC_REPLICATION_FACTOR"),
        *("KAFKA_TOPIC_RETENTION_MS", "KAFKA_TOPIC_RETENTION_BYTES"),
    ],
)
@pytest.mark.parametrize("value", ["many", "8.5", "0", "-1", "1 2"])
def test_a_setting_that_is_wrong_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        KafkaSettings.from_env({variable: value})
