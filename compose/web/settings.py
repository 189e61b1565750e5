"""The settings of the web: who may be an operator, by which names it is called."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import urlsplit

from eventsourcing_kafka.compose.web.auth.provider import Provider
from eventsourcing_kafka.compose.web.rates import Rates
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.secrets import Secret

SHORTEST_SECRET = 32
"""Characters. Whoever guesses it may be anybody."""

OUR_NAMES = {"localhost", socket.gethostname().casefold()}

DEVELOPER = "operator"
"""Who is an operator where a name is enough, unless `WEB_OPERATORS` says others."""


@dataclass(frozen=True)
class WebSettings:
    """What the web is told by the environment."""

    hosts: frozenset[str] = frozenset()
    """Names in addresses under which it answers, besides this machine's own: `WEB_HOSTS`."""
    operators: frozenset[str] = frozenset({DEVELOPER})
    """Who may see the pipeline and act on it: `WEB_OPERATORS`."""

    rates: Rates = field(default_factory=lambda: Rates.from_env({}))
    """How often one may ask: `WEB_RATE_…`."""
    provider: Provider | None = None
    """Who knows users: `WEB_OIDC_…`. Without one a name is enough."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the `WEB_…` variables. Raises `SettingsError` for one that is wrong."""
        provider = Provider.from_env(env)
        operators = _listed(env.get("WEB_OPERATORS", "" if provider else DEVELOPER))
        url = env.get("WEB_URL", "")
        named = _without_port(urlsplit(url).netloc)
        if url and not (named and url.startswith(("http://", "https://"))):
            raise SettingsError(
                f"WEB_URL is {url!r}: set it to what browsers call this wiki, as "
                "https://wiki.example.org"
            )
        hosts = [*_listed(env.get("WEB_HOSTS", "")), named]
        return cls(
            hosts=frozenset(host.casefold() for host in hosts if host),
            operators=frozenset(
                # A provider tells `Ann` from `ann`, but not their e-mail addresses.
                name if provider and "@" not in name else name.casefold()
                for name in operators
            ),
            rates=Rates.from_env(env),
            provider=provider,
        )

    def without_operators(self) -> Self:
        """Return the same settings, with nobody as an operator."""
        return replace(self, operators=frozenset())

    def answers_as(self, host: str) -> bool:
        """Tell whether a request may call us so: `host` is what its header `Host` says.

        A page of somebody else's can have its own name lead to this machine, and then read what
        is here as if it were its own. It can't do so with an address, nor with a name of ours.
        """
        name = _without_port(host).casefold()
        return _is_address(name) or name in self.hosts | OUR_NAMES


def session_secret(env: Mapping[str, str]) -> str | None:
    """Return what signs the sessions, from `WEB_SECRET` or its file; None if neither is set.

    Raises `SettingsError` for one that could be guessed.
    """
    given = Secret.from_env("WEB_SECRET", env)
    if given is None:
        return None
    secret = given()
    if len(secret) < SHORTEST_SECRET:
        raise SettingsError(
            f"WEB_SECRET has {len(secret)} characters, and may be guessed: take {SHORTEST_SECRET} "
            "or more, of `python -c 'import secrets; print(secrets.token_urlsafe(32))'`."
        )
    return secret


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
