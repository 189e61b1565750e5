"""So many requests a minute, and no more: of a user, and of an address."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import NamedTuple, Self

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from eventsourcing_kafka.compose.web.auth.tokens import Tokens
from eventsourcing_kafka.compose.web.safety import Refuse
from eventsourcing_kafka.producer.runtime.errors import SettingsError

OFF = "off"
READING = {"GET", "HEAD", "OPTIONS"}

SHARING = 10
"""So many users may be behind one address before they hold each other up."""

BUCKETS = 4096
"""Of users and addresses that are counted together, whoever they are: so nobody who comes from
everywhere fills the memory. Which are together is another thing in each process."""


class Rates(NamedTuple):
    """How many requests of a kind a user may make; None for any number."""

    sign_ins: RateLimitItem | None
    writes: RateLimitItem | None
    searches: RateLimitItem | None
    api: RateLimitItem | None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read `WEB_RATE_…`, as `120/minute` or `off`; `WEB_RATES=off` lifts all.

        Raises `SettingsError`.
        """
        if env.get("WEB_RATES", "") not in ("", OFF):
            raise SettingsError(
                f"WEB_RATES is {env['WEB_RATES']!r}: it can be off, or be left out. "
                "WEB_RATE_SIGN_INS, …_WRITES, …_SEARCHES and …_API set one each."
            )
        if env.get("WEB_RATES") == OFF:
            return cls(None, None, None, None)
        return cls(
            sign_ins=_rate(env, "WEB_RATE_SIGN_INS", "30/minute"),
            writes=_rate(env, "WEB_RATE_WRITES", "120/minute"),
            searches=_rate(env, "WEB_RATE_SEARCHES", "600/minute"),
            api=_rate(env, "WEB_RATE_API", "1200/minute"),
        )

    def of(self, method: str, path: str) -> RateLimitItem | None:
        """Return the one that counts for a request."""
        if path.startswith("/sign-in"):
            asks = method in READING and path == "/sign-in"
            return None if asks else self.sign_ins
        if method not in READING:
            return self.writes
        if path.endswith("/search"):
            return self.searches
        return self.api if path.startswith("/api/") else None


def _rate(env: Mapping[str, str], variable: str, default: str) -> RateLimitItem | None:
    text = env.get(variable) or default
    if text == OFF:
        return None
    try:
        rate = parse(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise SettingsError(f"{variable} is {text!r}: set it to as much as {default}, or to off.")
    return rate


class RateLimitMiddleware:
    """Refuses who asks too often: each user by the rate, and each address by several of it."""

    def __init__(self, app: ASGIApp, rates: Rates, tokens: Tokens, refuse: Refuse) -> None:
        self._app = app
        self._rates = rates
        self._tokens = tokens
        self._refuse = refuse
        self._counts = FixedWindowRateLimiter(MemoryStorage())
        self._salt = secrets.token_bytes(16)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            rate = self._rates.of(scope["method"], scope["path"])
            seconds = await self._to_wait(scope, rate) if rate else 0
            if seconds:
                # A browser has kept what was typed.
                again = HTTPException(
                    429,
                    f"You ask too often. Come again in {seconds} seconds: what you have typed is "
                    "still there when you go back.",
                    {"retry-after": str(seconds)},
                )
                await self._refuse(scope, again)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _to_wait(self, scope: Scope, rate: RateLimitItem) -> int:
        """Count a request; return the seconds until the next one is let through, 0 for now."""
        user, address = self._user(scope), network_of(scope)
        shared = type(rate)(rate.amount * SHARING, rate.multiples)
        counted = [(rate, user), (shared, address)] if user else [(rate, address)]
        for item, who in counted:
            bucket = self._bucket(who)
            if not await self._counts.hit(item, bucket):
                window = await self._counts.get_window_stats(item, bucket)
                return max(1, ceil(window.reset_time - time.time()))
        return 0

    def _user(self, scope: Scope) -> str | None:
        match scope.get("session", {}).get("user"):
            case [str(user_id), *_]:
                return user_id
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        user = self._tokens.user_of_token(token) if scheme.lower() == "bearer" else None
        return str(user.id) if user else None

    def _bucket(self, who: str) -> str:
        digest = blake2b(who.encode(), key=self._salt, digest_size=4).digest()
        return str(int.from_bytes(digest) % BUCKETS)


def network_of(scope: Scope) -> str:
    """Return where a request comes from: an address, of IPv6 the network that one person has."""
    host: str = (scope.get("client") or ("nobody", 0))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return host
