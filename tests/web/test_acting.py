"""Who is acting, and who may do what. No server is needed for that."""

import time
from collections.abc import AsyncIterator
from uuid import UUID

import anyio
import psycopg
import pytest
from aiokafka.errors import KafkaConnectionError
from httpx2 import ASGITransport, AsyncClient
from httpx2 import Response as Answer
from itsdangerous import TimestampSigner
from limits.aio.storage import MemoryStorage
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from eventsourcing_kafka.compose.web.app import web_app
from eventsourcing_kafka.compose.web.auth.forms import operators_only
from eventsourcing_kafka.compose.web.auth.session import SESSION_SECONDS, User, safe_path
from eventsourcing_kafka.compose.web.auth.tokens import DAYS, Tokens
from eventsourcing_kafka.compose.web.rates import (
    BUCKETS,
    SHARING,
    RateLimitMiddleware,
    Rates,
    network_of,
)
from eventsourcing_kafka.compose.web.safety import SafetyMiddleware, plain_page
from eventsourcing_kafka.compose.web.serving import checked_settings
from eventsourcing_kafka.compose.web.settings import SHORTEST_SECRET, session_secret
from eventsourcing_kafka.producer.runtime.errors import SettingsError

from .browser import TOKEN, text_of

SECRET = "a secret that is only of the tests"


@operators_only
async def the_window(_request: Request) -> Response:
    return PlainTextResponse("the window")


def client(*, secure: bool = False, **environment: str) -> AsyncClient:
    app = web_app(environment, SECRET, secure=secure)
    app.router.routes.append(Route("/window", the_window))
    app.router.routes.append(Route("/window/{slug}", the_window))
    app.router.routes.append(Route("/broken/{how}", broken))
    scheme = "https" if secure else "http"
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url=f"{scheme}://localhost")


ERRORS = {
    "defect": RuntimeError("/etc/passwd"),
    "settings": SettingsError("POSTGRES_HOST is db.example"),
    "database": psycopg.OperationalError('connection to "db.example" failed for user "boss"'),
    "kafka": KafkaConnectionError("db.example:9092"),
}


async def broken(request: Request) -> Response:
    raise ERRORS[request.path_params["how"]]


async def sign_in(browser: AsyncClient, name: str, onward: str = "") -> Answer:
    form = await browser.get(f"/sign-in{onward}")
    hidden = {"token": TOKEN.findall(form.text)[0]}
    if onward:
        hidden["next"] = form.text.partition('name="next" value="')[2].partition('"')[0]
    return await browser.post("/sign-in", data={**hidden, "name": name})


async def test_an_operator_is_one_by_name_and_is_none_from_the_next_request_on() -> None:
    async with client() as browser:
        assert "Who signs in as operator" in text_of(await browser.get("/sign-in"))
        asked = await browser.get("/window?a=1")
        assert asked.headers["location"] == "/sign-in?next=/window%3Fa%3D1"
        asked = await browser.get("/window/a%3Fb")
        assert asked.headers["location"] == "/sign-in?next=/window/a%253Fb"
        entered = await sign_in(browser, "Ann", "?next=/window%3Fa%3D1")
        assert entered.headers["location"] == "/window?a=1"
        assert (await browser.get("/window")).status_code == 403
        await sign_in(browser, "  Operator ")
        assert (await browser.get("/window")).text == "the window"
        session = browser.cookies
    async with client(WEB_OPERATORS="Ann, Bob") as browser:
        browser.cookies = session
        refused = await browser.get("/window")
        assert "Operator is no operator" in text_of(refused)
        await sign_in(browser, "ANN")
        assert (await browser.get("/window")).status_code == 200


async def test_a_program_acts_as_the_user_who_made_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = Tokens(SECRET, {"ann"})
    async with client() as browser:
        assert (await browser.get("/token")).headers["location"] == "/sign-in?next=/token"
        await sign_in(browser, "Ann")
        page = await browser.get("/token")
        refused = await browser.post("/token", data={"token": "guessed"})
        assert refused.status_code == 403
        made = await browser.post("/token", data={"token": TOKEN.findall(page.text)[0]})
        assert made.headers["cache-control"] == "no-store"
        session = browser.cookies["wiki"]
    token = made.text.partition("readonly>")[2].partition("<")[0]
    user = tokens.user_of_token(token)
    assert user is not None
    assert (user.name, user.operator) == ("Ann", True)
    unlisted = Tokens(SECRET, ()).user_of_token(token)
    assert unlisted == user._replace(operator=False)
    assert Tokens(SECRET[::-1], ()).user_of_token(token) is None
    for forged in (session, token[:-1], token.replace(".", ""), "", "ü.ü.ü", "x" * 10_000):
        assert tokens.user_of_token(forged) is None
    in_a_month = time.time() + DAYS * 24 * 3600 + 2
    monkeypatch.setattr(time, "time", lambda: in_a_month)
    assert tokens.user_of_token(token) is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "wiki",
        "",
        "/" + "x" * 1_001,
        "/" + "ü" * 500,
    ],
)
def test_one_comes_back_to_addresses_of_our_own_only(elsewhere: str) -> None:
    assert safe_path(elsewhere) == "/"


def test_one_comes_back_to_where_one_was() -> None:
    for here in ("/search?q=a//b&page=2", "/wiki/a%3Fb%2Fc#d", "/" + "x" * 999):
        assert safe_path(here) == here
    assert safe_path("/wiki/ü b") == "/wiki/%C3%BC%20b"


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost:8080", True),
        ("127.0.0.1", True),
        ("[::1]:8080", True),
        ("10.1.2.3:80", True),
        ("Wiki.example.org", True),
        ("wiki.example.org.evil.example", False),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
async def test_names_of_others_lead_nowhere(host: str, ours: bool) -> None:
    async with client(WEB_HOSTS="wiki.example.org, other.example") as browser:
        answer = await browser.get("/sign-in", headers={"host": host})
    assert answer.status_code == (200 if ours else 400)
    assert ("set-cookie" in answer.headers) is ours


def test_what_others_can_reach_is_not_opened_unawares() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "wiki.example.org"):
        with pytest.raises(SettingsError, match="say --anybody"):
            checked_settings({}, host, proxied=False, anybody=False)
    for env, proxied in (({}, True), ({"WEB_HOSTS": "a"}, False), ({"WEB_URL": "http://a"}, False)):
        with pytest.raises(SettingsError, match="say --anybody"):
            checked_settings(env, "127.0.0.1", proxied=proxied, anybody=False)
    env = {"WEB_OPERATORS": "ann"}
    assert checked_settings(env, "0.0.0.0", proxied=False, anybody=True).operators == set()
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        found = checked_settings({}, host, proxied=False, anybody=False)
        assert found.operators == {"operator"}


def test_a_secret_that_may_be_guessed_is_refused() -> None:
    with pytest.raises(SettingsError, match="WEB_SECRET has 9 characters"):
        session_secret({"WEB_SECRET": "change-me"})
    secret = "x" * SHORTEST_SECRET
    assert session_secret({"WEB_SECRET": secret}) == secret
    assert session_secret({}) is None


async def test_a_session_ends_so_long_after_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    async with client() as browser:
        await sign_in(browser, "operator")
        session, _ = browser.cookies["wiki"].split(".", maxsplit=1)
        browser.cookies.clear()
        began = time.time()
        for passed, status in ((0.6, 200), (1.1, 303)):
            monkeypatch.setattr(time, "time", lambda at=passed: began + at * SESSION_SECONDS)
            # A cookie is as new as what was changed last in it.
            renewed = TimestampSigner(SECRET).sign(session).decode()
            answer = await browser.get("/window", headers={"cookie": f"wiki={renewed}"})
            assert answer.status_code == status


async def test_a_session_is_for_its_browser_alone() -> None:
    async with client(secure=True) as browser:
        (cookie,) = (await browser.get("/sign-in")).headers.get_list("set-cookie")
    assert cookie.startswith("__Host-wiki=")
    assert cookie.endswith("; path=/; Max-Age=1209600; httponly; samesite=lax; secure")


async def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    rates = {"WEB_RATE_SIGN_INS": "3/hour", "WEB_RATE_SEARCHES": "2/minute", "WEB_RATE_API": "off"}
    async with client(secure=False, **rates) as browser:
        for _ in range(2):
            assert (await browser.get("/search")).status_code == 503
        for path in ("/search?q=a", "/search?part=1"):
            refused = await browser.get(path)
            assert refused.status_code == 429
            assert 0 < int(refused.headers["retry-after"]) <= 60
            assert f"Come again in {refused.headers['retry-after']} seconds" in text_of(refused)
            assert refused.headers["content-security-policy"]
        of_a_program = await browser.get("/api/search")
        assert of_a_program.headers["content-type"] == "application/problem+json"
        assert of_a_program.json()["status"] == of_a_program.status_code == 429
        assert of_a_program.json()["type"] == "/api#too-many"
        # Others, and other kinds, are as they were.
        for _ in range(5):
            assert (await browser.get("/api/pages")).status_code == 503
            assert (await browser.get("/sign-in")).status_code == 200
        assert (await sign_in(browser, "Ann")).status_code == 303
        assert (await browser.get("/search")).status_code == 503
        assert (await sign_in(browser, "Bob")).status_code == 303
        assert (await browser.get("/search")).status_code == 503
        assert (await browser.get("/search")).status_code == 503
        assert (await browser.get("/search")).status_code == 429


async def test_many_users_behind_one_address_have_several_times_as_much_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of so many users, two are counted together in one process of 75.
    monkeypatch.setattr(RateLimitMiddleware, "_bucket", lambda _, who: who)
    secret_users = Tokens(SECRET, ())
    async with client(WEB_RATE_WRITES="1/minute") as browser:
        answers = []
        for number in range(SHARING + 1):
            user = User(UUID(int=number), "N")
            bearer = {"authorization": f"Bearer {secret_users.token_for(user)}"}
            answers.append(await browser.put("/api/pages/a", headers=bearer))
            answers.append(await browser.put("/api/pages/a", headers=bearer))
        passed = [answer.status_code != 429 for answer in answers]
        assert passed == [True, False] * SHARING + [False, False]


async def test_who_comes_from_everywhere_does_not_fill_the_memory() -> None:
    rates = Rates.from_env({})
    rated = RateLimitMiddleware(_answers_nothing, rates, Tokens(SECRET, ()), refuse)
    rate = rates.writes
    assert rate
    for number in range(3 * BUCKETS):
        scope = {"type": "http", "headers": [], "client": (f"2001:db8:{number:x}::1", 1)}
        await rated._to_wait(scope, rate)
    counts = rated._counts.storage
    assert isinstance(counts, MemoryStorage)
    assert BUCKETS / 2 < len(counts.storage) <= BUCKETS
    assert len(counts.locks) <= BUCKETS


def test_one_person_has_a_network_of_the_new_addresses() -> None:
    assert network_of({"client": ("2001:db8::1", 1)}) == network_of({"client": ("2001:db8::2", 1)})
    assert network_of({"client": ("10.0.0.1", 1)}) == "10.0.0.1"
    assert network_of({}) == "nobody"


@pytest.mark.parametrize(
    "settings",
    [{"WEB_RATES": "on"}, {"WEB_RATE_WRITES": "many"}, {"WEB_RATE_API": "0/minute"}],
)
def test_rates_that_are_none_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        Rates.from_env(settings)
    assert Rates.from_env({"WEB_RATES": "off"}) == (None, None, None, None)


def refuse(_scope: Scope, error: HTTPException) -> Response:
    return plain_page(error)


async def _answers_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await anyio.sleep_forever()


async def _answers_for_long(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"live ", b"page"):
        await anyio.sleep(0.02)
        await send({"type": "http.response.body", "body": part, "more_body": part != b"page"})


async def test_what_takes_too_long_is_ended() -> None:
    live = SafetyMiddleware(_answers_for_long, 10, lambda _: True, refuse, answer_seconds=0.01)
    async with AsyncClient(transport=ASGITransport(live), base_url="http://localhost") as browser:
        assert (await browser.get("/")).text == "live page"
    guarded = SafetyMiddleware(
        _answers_nothing, 10, lambda _: True, refuse, body_seconds=0.01, answer_seconds=0.02
    )
    transport = ASGITransport(guarded)
    async with AsyncClient(transport=transport, base_url="http://localhost") as browser:
        late = await browser.get("/new")
    assert late.status_code == 503
    assert "took too long" in text_of(late)
    app = SafetyMiddleware(
        web_app({}, SECRET), 10, lambda _: True, refuse, body_seconds=0.01, answer_seconds=9
    )
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost") as browser:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        slow = await browser.post("/sign-in", content=_slowly(), headers=kind)
    assert slow.status_code == 408


async def _slowly() -> AsyncIterator[bytes]:
    yield b"n"
    await anyio.sleep_forever()


async def test_what_is_too_much_is_refused() -> None:
    async with client() as browser:
        assert (await browser.get("/search?q=" + "x" * 15_000)).status_code == 503
        for path in ("/search?q=" + "x" * 20_000, "/wiki/" + "x" * 20_000):
            assert (await browser.get(path)).status_code == 414
        many = await browser.post("/sign-in", data={f"field{n}": "x" for n in range(60)})
        assert many.status_code == 400
        assert "Too many fields" in text_of(many)
        file = await browser.post("/sign-in", files={"name": ("n", b"x")})
        assert file.status_code == 400


async def test_whatever_fails_has_our_page_and_says_nothing() -> None:
    async with client() as browser:
        for method, path, status in [
            ("GET", "/", 503),
            ("GET", "/broken/defect", 500),
            ("HEAD", "/broken/defect", 500),
            ("GET", "/broken/settings", 503),
            ("GET", "/broken/database", 503),
            ("GET", "/broken/kafka", 503),
            ("GET", "/nothing", 404),
            ("HEAD", "/nothing", 404),
            ("OPTIONS", "/", 405),
            ("PUT", "/wiki/a", 405),
            ("GET", "/static/none.css", 404),
        ]:
            answer = await browser.request(method, path)
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "<h1>That did not work</h1>" in answer.text or method == "HEAD"
            for inside in ("passwd", "POSTGRES", "db.example", "boss", "Error", "File "):
                assert inside not in answer.text
        allowed = (await browser.request("OPTIONS", "/")).headers["allow"]
        assert set(allowed.split(", ")) == {"GET", "HEAD"}
        assert (
            (await browser.get("/static/style.css")).headers["cache-control"].startswith("public")
        )
