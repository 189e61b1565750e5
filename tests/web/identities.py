"""A small OpenID Connect provider: it knows everybody, and says of them what it is told to."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ISSUER = "https://identities.example"
CLIENT_ID = "the-wiki"
CLIENT_SECRET = "a secret of the client"


class Identities:
    """The provider. A test changes what it claims, signs with, or answers."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one"}, private=True)
        self.published = self.key
        self.claims: dict[str, Any] = {"sub": "42", "name": "Ann"}
        self.more: dict[str, Any] = {}
        self.about: dict[str, Any] = {}
        self.algorithm = "ES256"
        self.down = False
        self._begun: dict[str, dict[str, str]] = {}
        paths = {
            "/.well-known/openid-configuration": self._about_itself,
            "/keys": self._keys,
            "/token": self._token,
            "/userinfo": self._userinfo,
        }
        self.app = Starlette(
            routes=[
                Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in paths.items()
            ]
        )

    def authorize(self, url: str) -> str:
        """Let in whoever a browser was sent with; return where it is sent back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self._begun)}"
        self._begun[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    async def _about_itself(self, _request: Request) -> Response:
        if self.down:
            return Response("no", 503)
        return JSONResponse(
            {
                "issuer": ISSUER,
                "authorization_endpoint": f"{ISSUER}/authorize",
                "token_endpoint": f"{ISSUER}/token",
                "userinfo_endpoint": f"{ISSUER}/userinfo",
                "jwks_uri": f"{ISSUER}/keys",
                "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
                **self.about,
            }
        )

    async def _keys(self, _request: Request) -> Response:
        return JSONResponse(KeySet([self.published]).as_dict(private=False))

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        asked = self._begun.pop(str(form["code"]), None)
        if asked is None or not _is_proven(request, str(form["code_verifier"]), asked):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        said = {"iss": ISSUER, "aud": CLIENT_ID, "iat": now, "exp": now + 60, **self.claims}
        said.setdefault("nonce", asked["nonce"])
        return JSONResponse(
            {"access_token": "access", "token_type": "Bearer", "id_token": self._signed(said)}
        )

    def _signed(self, said: dict[str, Any]) -> str:
        if self.algorithm == "ES256":
            return jwt.encode({"alg": "ES256", "kid": "one"}, said, self.key)
        # No library signs like that: with what all can read, or not at all.
        header = {"alg": self.algorithm, "kid": "one"}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, said))
        by_all = hmac.digest(self.published.as_pem(private=False), text.encode(), "sha256")
        return f"{text}.{_encoded(by_all) if self.algorithm == 'HS256' else ''}"

    async def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse({"sub": self.claims.get("sub"), **self.more})


def _is_proven(request: Request, verifier: str, asked: dict[str, str]) -> bool:
    """Tell whether it is our client that asks, and the one that has begun."""
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = _encoded(digest)
    basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    known = request.headers.get("authorization") == f"Basic {basic}"
    return known and challenge == asked["code_challenge"]


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")
