"""Signing in with OpenID Connect: a provider knows who it is.

The authorization code flow, with PKCE, a state and a nonce, which the session carries meanwhile.
Who comes back with another state, or with a token that is not signed by the provider for us, now,
is not let in. The log has the reason, and the browser only its kind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.starlette_client import OAuth, OAuthError
from httpx2 import AsyncBaseTransport, HTTPError
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from eventsourcing_kafka.compose.web.auth.provider import Provider
from eventsourcing_kafka.compose.web.auth.session import safe_path, start_session
from eventsourcing_kafka.compose.web.rendering import render

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
"""For each question to the provider."""
LEEWAY_SECONDS = 60
"""Between the provider's clock and ours."""
LONGEST_NAME = 60

# Signatures that nobody but the provider can make. Some list `none`, and a client that takes what
# is listed takes it.
SIGNED_WITH = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
SIGNED_WITH |= {"EdDSA", "Ed25519"}


class Refusal(NamedTuple):
    """What a browser is told when somebody is not let in."""

    status: int
    message: str


SILENT = Refusal(502, "The provider that knows who you are does not answer as it should.")
NOT_BEGUN = Refusal(400, "This was not begun in this browser, or too long ago. Begin again.")
NOT_LET_IN = Refusal(403, "The provider has not let you in.")
NOT_BELIEVED = Refusal(403, "What came from the provider can't be believed. Nobody is signed in.")


class UnlikeProviderError(Exception):
    """The provider is not the one that the settings name, or says too little."""


class OpenIDConnect:
    """Lets in whom a provider knows."""

    def __init__(self, provider: Provider, transport: AsyncBaseTransport | None = None) -> None:
        self._provider = provider
        self._client = OAuth().register(
            "provider",
            client_id=provider.client_id,
            server_metadata_url=f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": provider.scopes,
                "code_challenge_method": "S256",
                "timeout": ANSWER_SECONDS,
                "token_endpoint_auth_method": None if provider.secret else "none",
                "transport": transport,
            },
        )
        self.routes: list[BaseRoute] = [
            Route("/sign-in", self._ask, name="sign_in"),
            Route("/sign-in/begin", self._begin),
            Route("/sign-in/back", self._come_back, name="come_back"),
        ]

    async def _ask(self, request: Request) -> Response:
        # A page in between: a form that is sent may lead nowhere else, and so may not lead
        # straight on to the provider.
        onward = quote(safe_path(request.query_params.get("next", "/")), safe="/")
        return render(request, "auth/provider", host=self._provider.host, onward=onward)

    async def _begin(self, request: Request) -> Response:
        try:
            await self._prepare()
            answer: Response = await self._client.authorize_redirect(
                request, self._back_to(request)
            )
        except (HTTPError, ValueError, RuntimeError, UnlikeProviderError) as error:
            return _refused(request, SILENT, error)
        request.session["next"] = safe_path(request.query_params.get("next", "/"))
        return answer

    async def _come_back(self, request: Request) -> Response:
        try:
            await self._prepare()
            claims = await self._claims(request)
        except MismatchingStateError as error:
            return _refused(request, NOT_BEGUN, error)
        except OAuthError as error:
            return _refused(request, NOT_LET_IN, error)
        except (JoseError, UnlikeProviderError) as error:
            return _refused(request, NOT_BELIEVED, error)
        except (HTTPError, ValueError, RuntimeError) as error:
            return _refused(request, SILENT, error)
        onward = request.session.get("next", "/")
        self._let_in(request, claims)
        return RedirectResponse(onward, 303)

    async def _prepare(self) -> None:
        """Ask the provider about itself, once, and see that it is the one that is meant."""
        self._client.client_secret = self._provider.secret() if self._provider.secret else None
        about = await self._client.load_server_metadata()
        issuer = about.get("issuer")
        if issuer != self._provider.issuer:
            self._client.server_metadata.clear()  # It is asked again the next time.
            raise UnlikeProviderError(f"its issuer is {issuer!r}")
        listed = about.get("id_token_signing_alg_values_supported") or ["RS256"]
        about["id_token_signing_alg_values_supported"] = sorted(SIGNED_WITH & set(listed))

    def _back_to(self, request: Request) -> str:
        path = request.app.url_path_for("come_back")
        return (
            f"{self._provider.url}{path}"
            if self._provider.url
            else str(request.url_for("come_back"))
        )

    async def _claims(self, request: Request) -> Mapping[str, Any]:
        """Return what the provider says of who has come back, when it can be believed."""
        ours = {
            "iss": {"essential": True, "value": self._provider.issuer},
            "aud": {"essential": True, "value": self._provider.client_id},
        }
        token = await self._client.authorize_access_token(
            request, claims_options=ours, leeway=LEEWAY_SECONDS
        )
        claims: Mapping[str, Any] | None = token.get("userinfo")
        if not claims or not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise UnlikeProviderError("no token says who it is")
        if self._says_enough(claims):
            return claims
        more = await self._client.userinfo(token=token)
        if more.get("sub") != claims["sub"]:
            raise UnlikeProviderError("it speaks of somebody else")
        return {**more, **claims}

    def _says_enough(self, claims: Mapping[str, Any]) -> bool:
        wanted = {self._provider.name_claim, self._provider.operator_claim} - {""}
        asks = "userinfo_endpoint" in self._client.server_metadata
        return wanted <= claims.keys() or not asks

    def _let_in(self, request: Request, claims: Mapping[str, Any]) -> None:
        subject: str = claims["sub"]
        # What has an @ is an e-mail address, and counts only where the provider has verified it.
        known_as = [] if "@" in subject else [subject]
        if claims.get("email_verified") is True and isinstance(claims.get("email"), str):
            known_as.append(claims["email"].casefold())
        until = time.time() + self._provider.operator_hours * 3600
        start_session(
            request,
            f"{self._provider.issuer} {subject}",
            self._name(claims),
            known_as=known_as,
            operator_until=until if self._claims_operator(claims) else 0.0,
        )

    def _name(self, claims: Mapping[str, Any]) -> str:
        for claim in (self._provider.name_claim, "preferred_username", "sub"):
            name = " ".join(str(claims.get(claim) or "").split())
            if name and name.isprintable():
                return name[:LONGEST_NAME]
        return "somebody"

    def _claims_operator(self, claims: Mapping[str, Any]) -> bool:
        if not self._provider.operator_claim:
            return False
        claimed = claims.get(self._provider.operator_claim)
        values = claimed if isinstance(claimed, list) else [claimed]
        return self._provider.operator_value in values


def _refused(request: Request, refusal: Refusal, error: Exception) -> Response:
    logger.warning("sign-in: %s: %.200r", type(error).__name__, str(error))
    onward = quote(request.session.get("next", "/"), safe="/")
    return render(
        request, "auth/refused", status=refusal.status, message=refusal.message, onward=onward
    )
