"""An application that encrypts its events is published as ciphertext, unless told otherwise."""

import pytest

from eventsourcing_kafka.producer.wire import WireError, WireFormat
from tests.chains import linked

from .conversation import READER, read, stored, titled
from .encryption import SECRET, SECRETIVE, TALKATIVE, WITH_KEY, WITH_WRONG_KEY, WITHOUT_CIPHER

STORED = stored(titled("A secret"), mapper=SECRET)
CIPHERTEXT = linked(SECRETIVE.to_record(STORED))


def test_ciphertext_is_what_is_published_and_marked_as_such() -> None:
    headers = dict(CIPHERTEXT.headers)

    assert CIPHERTEXT.value == STORED.state
    assert (headers["ce_encrypted"], headers["content-type"]) == (
        b"true",
        b"application/octet-stream",
    )
    assert READER.envelope(CIPHERTEXT.key, CIPHERTEXT.headers).encrypted


def test_ciphertext_does_not_tell_when_the_event_happened() -> None:
    assert CIPHERTEXT.timestamp_ms is None
    assert "ce_time" not in dict(CIPHERTEXT.headers)


def test_a_reader_with_the_key_reads_ciphertext() -> None:
    assert vars(read(CIPHERTEXT, WITH_KEY)) == vars(titled("A secret"))


def test_a_reader_without_the_key_reads_what_was_published_decrypted() -> None:
    record = linked(TALKATIVE.to_record(STORED))

    assert b"A secret" in record.value
    assert "ce_encrypted" not in dict(record.headers)
    assert vars(read(record)) == vars(titled("A secret"))


@pytest.mark.parametrize("reader", [READER, WITHOUT_CIPHER], ids=["no mapper", "no cipher"])
def test_a_reader_without_the_key_is_told_what_to_set(reader: WireFormat) -> None:
    with pytest.raises(WireError, match=r"Page\.TitleUpdated is encrypted.* set CIPHER_TOPIC"):
        read(CIPHERTEXT, reader)


@pytest.mark.parametrize(
    "record",
    [
        CIPHERTEXT,
        CIPHERTEXT._replace(value=b""),
        CIPHERTEXT._replace(value=STORED.state[:20]),
        CIPHERTEXT._replace(value=STORED.state[:-1] + b"\0\0"),
    ],
    ids=["whole", "empty", "truncated", "damaged"],
)
def test_a_wrong_key_and_damaged_ciphertext_are_wire_errors(record: object) -> None:
    with pytest.raises(
        WireError, match=r"not a Page\.TitleUpdated: .*Is CIPHER_KEY the application's"
    ):
        read(record, WITH_WRONG_KEY)  # type: ignore[arg-type]


def forged(**headers: bytes) -> list[tuple[str, bytes]]:
    return [*{**dict(CIPHERTEXT.headers), **headers}.items()]


@pytest.mark.parametrize("subject", ["not a UUID", "{6E5E5D19-4C9B-4B4C-8D2F-0C3E6A1F7B21}"])
def test_ciphertext_under_a_forged_key_is_refused(subject: str) -> None:
    key = subject.encode()
    record = CIPHERTEXT._replace(key=key, headers=forged(ce_subject=key))

    with pytest.raises(WireError):
        read(record, WITH_KEY)


def test_ciphertext_of_a_newer_class_version_asks_for_an_update() -> None:
    record = CIPHERTEXT._replace(headers=forged(ce_classversion=b"2"))

    with pytest.raises(WireError, match=r"version 2 of Page\.TitleUpdated.* update it"):
        read(record, WITH_KEY)
