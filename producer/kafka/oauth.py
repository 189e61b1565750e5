"""Tokens for OAUTHBEARER, by the client credentials grant of OAuth 2. Needs the extra `oauth`."""

from __future__ import annotations

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oauth2.rfc6749 import OAuth2Token
from httpx2 import HTTPError

from eventsourcing_kafka.producer.runtime.secrets import Secret

LEEWAY_SECONDS = 60
"""A token that is valid for no longer than this is not used any more."""


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Fetches a token when a connection needs one, and keeps it while it is valid."""

    def __init__(self, url: str, client_id: str, secret: Secret, scope: str) -> None:
        self._url = url
        self._client_id = client_id
        self._secret = secret
        self._scope = scope or None
        self._token: OAuth2Token | None = None

    async def token(self) -> str:
        """Return a token that is valid.

        Raises aiokafka's `KafkaConnectionError` when there is none to be had: it is waited for.
        """
        if self._token is None or self._token.is_expired(LEEWAY_SECONDS):
            self._token = await self._fetch()
        return str(self._token["access_token"])

    async def _fetch(self) -> OAuth2Token:
        client = AsyncOAuth2Client(self._client_id, self._secret(), scope=self._scope)
        try:
            async with client:
                return await client.fetch_token(self._url, grant_type="client_credentials")
        except (HTTPError, OAuthError) as error:
            raise KafkaConnectionError(f"{self._url} gives no token: {error}") from error
