"""How a Kafka client proves who it is, and verifies the broker: TLS and SASL, by settings alone.

They have the names of Kafka's own settings, in capitals. Files and secrets are read whenever a
client is made, so that renewed ones are used after the next loss of a connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NoReturn

import msgspec

from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.secrets import Secret


class _Choice(StrEnum):
    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ValueError(f"{value!r} is none of {', '.join(cls)}")


class Protocol(_Choice):
    """What a listener of Kafka speaks."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypted(self) -> bool:
        """Whether it is TLS."""
        return self in {Protocol.SSL, Protocol.SASL_SSL}

    @property
    def authenticated(self) -> bool:
        """Whether a client names itself by SASL."""
        return self in {Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL}


class Mechanism(_Choice):
    """How a client proves who it is."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


SECRETS = (
    "KAFKA_SSL_KEY_PASSWORD",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET",
)
"""The variables that may be in files."""


def variable_of(setting: str) -> str:
    """Return the name of the variable of a setting."""
    return f"KAFKA_{setting.upper()}"


class Security(msgspec.Struct, frozen=True, kw_only=True, rename=variable_of):
    """How a client and a broker authenticate each other. By default they don't."""

    security_protocol: Protocol = Protocol.PLAINTEXT
    ssl_cafile: str = ""
    """The authorities whose certificates a broker may have; by default the machine's."""
    ssl_certfile: str = ""
    """The client's own certificate, with those that lead to its authority."""
    ssl_keyfile: str = ""
    """The key of that; by default it is in the same file."""
    ssl_key_password: Secret | None = None
    sasl_mechanism: Mechanism | None = None
    sasl_username: str = ""
    sasl_password: Secret | None = None
    sasl_oauthbearer_token_endpoint_url: str = ""
    sasl_oauthbearer_client_credentials_client_id: str = ""
    sasl_oauthbearer_client_credentials_client_secret: Secret | None = None
    sasl_oauthbearer_scope: str = ""

    def __post_init__(self) -> None:
        """Raise `SettingsError` for settings that contradict each other, or one that is missing."""
        protocol, mechanism = self.security_protocol, self.sasl_mechanism
        if mechanism and not protocol.authenticated:
            raise SettingsError(
                f"KAFKA_SASL_MECHANISM is set, and KAFKA_SECURITY_PROTOCOL is {protocol}, which "
                "sends no password: set it to SASL_SSL."
            )
        if self.ssl_cafile + self.ssl_certfile and not protocol.encrypted:
            raise SettingsError(
                f"KAFKA_SSL_… files are set, and KAFKA_SECURITY_PROTOCOL is {protocol}, which "
                "encrypts nothing: set it to SSL or SASL_SSL."
            )
        if protocol.authenticated and not mechanism:
            raise SettingsError(
                f"KAFKA_SECURITY_PROTOCOL is {protocol}: set KAFKA_SASL_MECHANISM to one of "
                f"{', '.join(Mechanism)}."
            )
        if self.ssl_keyfile and not self.ssl_certfile:
            raise SettingsError("KAFKA_SSL_KEYFILE is set: set KAFKA_SSL_CERTFILE as well.")
        if missing := [variable_of(name) for name in self._needed() if not getattr(self, name)]:
            raise SettingsError(f"KAFKA_SASL_MECHANISM={mechanism} needs {' and '.join(missing)}.")

    def _needed(self) -> tuple[str, ...]:
        match self.sasl_mechanism:
            case None:
                return ()
            case Mechanism.OAUTHBEARER:
                credentials = "sasl_oauthbearer_client_credentials_client"
                url = "sasl_oauthbearer_token_endpoint_url"
                return url, f"{credentials}_id", f"{credentials}_secret"
            case _:
                return "sasl_username", "sasl_password"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that an aiokafka client takes about this.

        Raises `SettingsError` for a file that can't be used.
        """
        arguments: dict[str, Any] = {}
        if self.security_protocol is not Protocol.PLAINTEXT:
            arguments["security_protocol"] = self.security_protocol.value
        if self.security_protocol.encrypted:
            arguments["ssl_context"] = self.tls()
        if self.sasl_mechanism:
            arguments["sasl_mechanism"] = self.sasl_mechanism.value
            arguments |= self._credentials()
        return arguments

    def _credentials(self) -> dict[str, Any]:
        if self.sasl_mechanism is Mechanism.OAUTHBEARER:
            return {"sasl_oauth_token_provider": self._tokens()}
        assert self.sasl_password  # noqa: S101 - checked when the settings were read
        return {
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password(),
        }

    def _tokens(self) -> Any:
        try:
            from eventsourcing_kafka.producer.kafka.oauth import ClientCredentials
        except ImportError as error:
            raise SettingsError(
                f"OAUTHBEARER needs a library that is not installed ({error}): "
                "pip install 'eventsourcing-kafka[oauth]'"
            ) from error
        secret = self.sasl_oauthbearer_client_credentials_client_secret
        assert secret  # noqa: S101 - checked when the settings were read
        return ClientCredentials(
            self.sasl_oauthbearer_token_endpoint_url,
            self.sasl_oauthbearer_client_credentials_client_id,
            secret,
            self.sasl_oauthbearer_scope,
        )

    def tls(self) -> ssl.SSLContext:
        """Return how to speak TLS: the broker's certificate and its host name are always checked.

        Raises `SettingsError` naming the file that can't be used.
        """
        with _named("KAFKA_SSL_CAFILE", self.ssl_cafile):
            context = ssl.create_default_context(cafile=self.ssl_cafile or None)
        if self.ssl_certfile:
            # Without a password OpenSSL would ask for one on the terminal.
            password = self.ssl_key_password() if self.ssl_key_password else ""
            with _named("KAFKA_SSL_CERTFILE or KAFKA_SSL_KEYFILE", self.ssl_certfile):
                context.load_cert_chain(
                    self.ssl_certfile, self.ssl_keyfile or None, lambda: password
                )
        return context


@contextmanager
def _named(variables: str, path: str) -> Iterator[None]:
    """Say of an error which setting it is about."""
    try:
        yield
    except OSError as error:  # What OpenSSL does not like is one as well.
        reason = error.strerror or str(error)
        raise SettingsError(f"{variables} ({path}) can't be used: {reason}.") from error
