"""Where users are known: the settings of an OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.secrets import Secret

SCOPES = "openid profile email"
HOURS = 8
"""A working day."""


@dataclass(frozen=True)
class Provider:
    """An OpenID Connect provider, and what its claims mean here."""

    issuer: str
    client_id: str
    secret: Secret | None
    """None for a client without one, which PKCE alone protects."""
    scopes: str = SCOPES
    name_claim: str = "name"
    operator_claim: str = ""
    operator_value: str = ""
    operator_hours: float = HOURS
    """So long what a claim said of an operator counts. Then one signs in again."""
    url: str = ""
    """Of this wiki, as browsers see it; without it each request tells."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self | None:
        """Read the `WEB_OIDC_…` variables; None without an issuer. Raises `SettingsError`."""
        given = {name: value for name, value in env.items() if value}
        issuer = given.get("WEB_OIDC_ISSUER")
        if issuer is None:
            return None
        if not _is_safe(issuer):
            raise SettingsError(
                f"WEB_OIDC_ISSUER is {issuer!r}: it must begin with https://, as whoever can "
                "change what it answers may be anybody. On this machine alone http:// will do."
            )
        if "WEB_OIDC_CLIENT_ID" not in given:
            raise SettingsError(
                "WEB_OIDC_ISSUER is set, and WEB_OIDC_CLIENT_ID is not: "
                "set it to what the provider calls this wiki."
            )
        if ("WEB_OIDC_OPERATOR_CLAIM" in given) is not ("WEB_OIDC_OPERATOR_VALUE" in given):
            raise SettingsError(
                "WEB_OIDC_OPERATOR_CLAIM and WEB_OIDC_OPERATOR_VALUE go together: set both, as "
                "groups and wiki-operators, or none."
            )
        return cls(
            issuer=issuer,
            client_id=given["WEB_OIDC_CLIENT_ID"],
            secret=Secret.from_env("WEB_OIDC_CLIENT_SECRET", env),
            scopes=given.get("WEB_OIDC_SCOPES", SCOPES),
            name_claim=given.get("WEB_OIDC_NAME_CLAIM", "name"),
            operator_claim=given.get("WEB_OIDC_OPERATOR_CLAIM", ""),
            operator_value=given.get("WEB_OIDC_OPERATOR_VALUE", ""),
            operator_hours=_hours(given.get("WEB_OIDC_OPERATOR_HOURS", str(HOURS))),
            url=given.get("WEB_URL", "").rstrip("/"),
        )

    @property
    def host(self) -> str:
        """What people know it by."""
        return urlsplit(self.issuer).netloc


def _is_safe(issuer: str) -> bool:
    parts = urlsplit(issuer)
    here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return bool(parts.netloc) and (parts.scheme == "https" or (parts.scheme == "http" and here))


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1
    if not 0 < hours <= 24 * 365:
        raise SettingsError(f"WEB_OIDC_OPERATOR_HOURS is {text!r}: set it to a number of hours.")
    return hours
