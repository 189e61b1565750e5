"""Signing in with OpenID Connect, and what is not believed."""

import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote, urlencode

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from joserfc.jwk import ECKey
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from eventsourcing_kafka.compose.web.app import web_app
from eventsourcing_kafka.compose.web.auth.oidc import OpenIDConnect
from eventsourcing_kafka.compose.web.auth.provider import Provider
from eventsourcing_kafka.compose.web.auth.session import user_of
from eventsourcing_kafka.compose.web.serving import checked_settings
from eventsourcing_kafka.compose.web.settings import WebSettings
from eventsourcing_kafka.producer.runtime.errors import SettingsError

from .browser import TOKEN, text_of
from .identities import CLIENT_ID, CLIENT_SECRET, ISSUER, Identities
from .test_acting import SECRET

SETTINGS = {
    "WEB_OIDC_ISSUER": ISSUER,
    "WEB_OIDC_CLIENT_ID": CLIENT_ID,
    "WEB_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    "WEB_OPERATORS": "7, boss@example.org",
    "WEB_OIDC_OPERATOR_CLAIM": "groups",
    "WEB_OIDC_OPERATOR_VALUE": "wiki-operators",
}


async def who(request: Request) -> JSONResponse:
    user = user_of(request)
    return JSONResponse(user and [str(user.id), user.name, user.operator])


class Wiki:
    """A browser before a wiki that asks a provider who it is."""

    def __init__(self, identities: Identities, **settings: str) -> None:
        self.identities = identities
        environment = {**SETTINGS, **settings}
        provider = Provider.from_env(environment)
        assert provider
        asked = OpenIDConnect(provider, ASGITransport(identities.app))
        app = web_app(environment, SECRET, sign_in=asked)
        app.router.routes.append(Route("/who", who))
        self.browser = AsyncClient(transport=ASGITransport(app), base_url="http://localhost")

    async def begin(self, onward: str = "/") -> Response:
        return await self.browser.get(f"/sign-in/begin?next={quote(onward)}")

    async def sign_in(self, onward: str = "/") -> Response:
        begun = await self.begin(onward)
        return await self.browser.get(self.identities.authorize(begun.headers["location"]))

    async def who(self) -> list[object] | None:
        found: list[object] | None = (await self.browser.get("/who")).json()
        return found


@pytest.fixture
async def wiki() -> AsyncIterator[Wiki]:
    wiki = Wiki(Identities())
    async with wiki.browser:
        yield wiki


async def test_whom_the_provider_knows_is_let_in_and_comes_back_to_the_page(wiki: Wiki) -> None:
    asked = await wiki.browser.get("/token")
    page = await wiki.browser.get(asked.headers["location"])
    assert "Sign in with identities.example" in text_of(page)
    assert "/sign-in/begin?next=/token" in page.text
    entered = await wiki.sign_in("/search?q=a b")
    assert (entered.status_code, entered.headers["location"]) == (303, "/search?q=a%20b")
    ann = await wiki.who()
    assert ann
    assert ann[1:] == ["Ann", False]
    wiki.identities.claims = {"sub": "42", "name": "Ann Other", "nickname": "x"}
    await wiki.sign_in()
    assert await wiki.who() == [ann[0], "Ann Other", False]
    wiki.identities.claims = {"sub": "43", "name": "Ann"}
    assert (await wiki.sign_in("//evil.example")).headers["location"] == "/"
    other = await wiki.who()
    assert other
    assert other[0] != ann[0]
    (token, *_) = TOKEN.findall((await wiki.browser.get("/token")).text)
    await wiki.browser.post("/sign-out", data={"token": token})
    assert await wiki.who() is None


@pytest.mark.parametrize(
    ("claims", "operator"),
    [
        ({"sub": "7"}, True),
        ({"sub": "8", "email": "Boss@example.org", "email_verified": True}, True),
        ({"sub": "8", "email": "boss@example.org", "email_verified": False}, False),
        ({"sub": "8", "email": "boss@example.org", "email_verified": "false"}, False),
        ({"sub": "8", "email": "boss@example.org"}, False),
        ({"sub": "boss@example.org"}, False),
        ({"sub": "8", "name": "7"}, False),
        ({"sub": "8", "groups": ["readers", "wiki-operators"]}, True),
        ({"sub": "8", "groups": "wiki-operators"}, True),
        ({"sub": "8", "groups": ["wiki-operators-not"]}, False),
        ({"sub": "8", "groups": {"wiki-operators": 1}}, False),
    ],
)
async def test_an_operator_is_on_the_list_or_claimed_to_be_one(
    wiki: Wiki, claims: dict[str, object], operator: bool
) -> None:
    wiki.identities.claims = {"name": "N", "groups": None, **claims}
    await wiki.sign_in()
    found = await wiki.who()
    assert found
    assert found[2] is operator


async def test_what_a_claim_said_of_an_operator_counts_for_a_time(
    wiki: Wiki, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki.identities.claims = {"sub": "8", "name": "Ann", "groups": ["wiki-operators"]}
    await wiki.sign_in()
    for hours, operator in ((7.9, True), (8.1, False)):
        later = time.time() + hours * 3600
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda at=later: at)
            found = await wiki.who()
        assert found
        assert found[1:] == ["Ann", operator]


async def test_what_is_carried_meanwhile_is_no_more_than_a_browser_keeps(wiki: Wiki) -> None:
    begun = await wiki.begin("/" + "%3F" * 333)
    (cookie,) = begun.headers.get_list("set-cookie")
    assert 2_000 < len(cookie) < 4_096


async def test_what_the_token_does_not_say_is_asked_for(wiki: Wiki) -> None:
    wiki.identities.claims = {"sub": "42"}
    wiki.identities.more = {"sub": "42", "name": "Asked for", "groups": ["wiki-operators"]}
    await wiki.sign_in()
    found = await wiki.who()
    assert found
    assert found[1:] == ["Asked for", True]
    wiki.identities.more = {"sub": "7", "name": "Somebody else"}
    assert (await wiki.sign_in()).status_code == 403


def another_key(provider: Identities) -> None:
    provider.key = ECKey.generate_key("P-256", {"kid": "one"}, private=True)


def signed_with_what_all_can_read(provider: Identities) -> None:
    provider.algorithm = "HS256"


def signed_by_nobody(provider: Identities) -> None:
    provider.algorithm = "none"


def claims(**claimed: object) -> Callable[[Identities], None]:
    def claim(provider: Identities) -> None:
        provider.claims = {"sub": "42", "name": "Ann", **claimed}

    return claim


@pytest.mark.parametrize(
    "forge",
    [
        another_key,
        signed_with_what_all_can_read,
        signed_by_nobody,
        claims(iss="https://evil.example"),
        claims(aud="another-client"),
        claims(aud="another-client", azp=CLIENT_ID),
        claims(aud=[CLIENT_ID, "another-client"], azp="another-client"),
        claims(exp=int(time.time()) - 600),
        claims(iat=int(time.time()) + 6_000),
        claims(nonce="of another sign-in"),
        claims(sub=""),
        claims(sub=None),
        claims(sub=42),
    ],
)
async def test_what_can_be_forged_is_not_believed(
    wiki: Wiki, forge: Callable[[Identities], None], caplog: pytest.LogCaptureFixture
) -> None:
    forge(wiki.identities)
    refused = await wiki.sign_in("/new")
    assert refused.status_code == 403
    assert "can't be believed" in text_of(refused)
    assert '"/sign-in?next=/new"' in refused.text
    assert await wiki.who() is None
    assert "sign-in: " in caplog.text


async def test_who_has_not_begun_here_is_not_let_in(wiki: Wiki) -> None:
    begun = await wiki.begin()
    back = wiki.identities.authorize(begun.headers["location"])
    wiki.browser.cookies.clear()
    for path in (back, "/sign-in/back?code=x&state=y", "/sign-in/back?code=x", "/sign-in/back"):
        refused = await wiki.browser.get(path)
        assert refused.status_code == 400, path
        assert "not begun in this browser" in text_of(refused)
    assert (await wiki.sign_in()).status_code == 303
    twice = await wiki.browser.get(back)
    assert twice.status_code == 400


async def test_who_is_refused_by_the_provider_is_told_so(
    wiki: Wiki, caplog: pytest.LogCaptureFixture
) -> None:
    await wiki.begin("/new")
    what = urlencode({"error": "access_denied", "error_description": "<b>\nfor\x1b[31m you"})
    refused = await wiki.browser.get(f"/sign-in/back?{what}")
    assert refused.status_code == 403
    assert "has not let you in" in text_of(refused)
    assert "for" not in text_of(refused).partition("not let you in")[2].partition("Try")[0]
    assert all(record.getMessage().isprintable() for record in caplog.records)
    wiki.identities.claims = {"sub": "42", "name": "Ann"}
    begun = await wiki.begin()
    stolen = wiki.identities.authorize(begun.headers["location"]).replace("code-", "code-of-")
    assert (await wiki.browser.get(stolen)).status_code == 403


async def test_a_provider_that_is_down_or_another_one_is_told_apart_from_a_refusal(
    wiki: Wiki, caplog: pytest.LogCaptureFixture
) -> None:
    wiki.identities.down = True
    down = await wiki.begin()
    assert down.status_code == 502
    assert "does not answer as it should" in text_of(down)
    wiki.identities.down = False
    wiki.identities.about = {"issuer": "https://evil.example"}
    assert (await wiki.begin()).status_code == 502
    assert "evil.example" in caplog.text
    wiki.identities.about = {}
    assert (await wiki.sign_in()).status_code == 303


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"WEB_OIDC_ISSUER": "http://identities.example"}, "must begin with https://"),
        ({"WEB_OIDC_CLIENT_ID": ""}, "WEB_OIDC_CLIENT_ID is not"),
        ({"WEB_OIDC_OPERATOR_VALUE": ""}, "go together"),
        ({"WEB_OIDC_OPERATOR_HOURS": "some"}, "a number of hours"),
        ({"WEB_OIDC_CLIENT_SECRET_FILE": "/secret"}, "both set"),
        ({"WEB_URL": "wiki.example.org"}, "as https://"),
    ],
)
def test_settings_that_are_wrong_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        WebSettings.from_env({**SETTINGS, **settings})


def test_with_a_provider_others_may_reach_it() -> None:
    env = {**SETTINGS, "WEB_URL": "https://w.example/"}
    settings = checked_settings(env, "::", proxied=True, anybody=False)
    assert settings.operators == {"7", "boss@example.org"}
    assert settings.answers_as("w.example")
    assert not settings.answers_as("")
    assert WebSettings.from_env({**SETTINGS, "WEB_OPERATORS": ""}).operators == set()
