"""The wiki with encryption, and readers with and without its key."""

from eventsourcing.cipher import AESCipher

from eventsourcing_kafka.producer.wire import EventTypes, WireFormat

from .conversation import APPLICATION, PLAIN, WIKI, mapper_of


def reader_with(key: str) -> WireFormat:
    return WireFormat(APPLICATION, WIKI, mapper_of(CIPHER_TOPIC=CIPHER, CIPHER_KEY=key))


CIPHER = "eventsourcing.cipher:AESCipher"
KEY = AESCipher.create_key(32)
SECRET = mapper_of(CIPHER_TOPIC=CIPHER, CIPHER_KEY=KEY)

SECRETIVE = WireFormat(APPLICATION, EventTypes(), SECRET)
TALKATIVE = WireFormat(APPLICATION, EventTypes(), SECRET, decrypt=True)

WITH_KEY = reader_with(KEY)
WITH_WRONG_KEY = reader_with(AESCipher.create_key(32))
WITHOUT_CIPHER = WireFormat(APPLICATION, WIKI, PLAIN)
