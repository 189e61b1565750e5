"""Our settings of Kafka, as Kafka's own tools, which are in Java, take them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eventsourcing_kafka.producer.kafka.security import Mechanism
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings

_MODULES = {
    Mechanism.PLAIN: "org.apache.kafka.common.security.plain.PlainLoginModule",
    Mechanism.SCRAM_SHA_256: "org.apache.kafka.common.security.scram.ScramLoginModule",
    Mechanism.SCRAM_SHA_512: "org.apache.kafka.common.security.scram.ScramLoginModule",
    Mechanism.OAUTHBEARER: ("org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"),
}


def client_properties(settings: KafkaSettings) -> dict[str, str]:
    """Return the properties of a Java client that connects as our clients do."""
    return {
        "security.protocol": settings.security_protocol.value,
        **dict(_tls(settings)),
        **dict(_sasl(settings)),
    }


def properties_file(properties: dict[str, str]) -> str:
    """Return the path of a file of properties that only this process, and what it becomes, has.

    It has no name in any folder, and is gone when they have ended.
    """
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    with os.fdopen(os.dup(descriptor), "w") as file:
        file.writelines(f"{name}={_escaped(value)}\n" for name, value in properties.items())
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return f"/dev/fd/{descriptor}"


def _tls(settings: KafkaSettings) -> Iterator[tuple[str, str]]:
    if settings.ssl_cafile:
        yield "ssl.truststore.type", "PEM"
        yield "ssl.truststore.location", settings.ssl_cafile
    if settings.ssl_certfile:
        yield "ssl.keystore.type", "PEM"
        yield "ssl.keystore.certificate.chain", Path(settings.ssl_certfile).read_text()
        key = settings.ssl_keyfile or settings.ssl_certfile
        yield "ssl.keystore.key", Path(key).read_text()
    if settings.ssl_key_password:
        yield "ssl.key.password", settings.ssl_key_password()


def _sasl(settings: KafkaSettings) -> Iterator[tuple[str, str]]:
    mechanism = settings.sasl_mechanism
    if not mechanism:
        return
    options = ""
    if settings.sasl_password:
        name, password = settings.sasl_username, settings.sasl_password()
        options = f' username="{_quoted(name)}" password="{_quoted(password)}"'
    yield "sasl.mechanism", mechanism.value
    yield "sasl.jaas.config", f"{_MODULES[mechanism]} required{options};"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _escaped(value: str) -> str:
    """Return a value as a file of properties has it: in ASCII, on one line."""
    line = value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")
    return "".join(c if c.isascii() else _utf16(c) for c in line)


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
