"""What the API says of itself is so: its document, whatever is sent, and its examples."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

import anyio
import pytest
import uvicorn
from anyio import from_thread, to_thread
from httpx2 import ASGITransport, AsyncClient, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from eventsourcing_kafka.compose.web.api.app import api_app, document
from eventsourcing_kafka.compose.web.api.position_tokens import PositionTokens
from eventsourcing_kafka.compose.web.api.problems import PROBLEMS
from tests.serving import serving

from .test_api import SECRET, Program, programs

DOCUMENT = document(api_app())
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
FAILING_CURL = (
    "curl() { command curl --silent --show-error --fail-with-body --write-out '\\n' \"$@\"; }\n"
)
EXAMPLE = re.compile(r'<pre class="example">(.*?)</pre>', re.DOTALL)
TEXT = st.text() | st.sampled_from(["%", "a/b", "\0", "\n", "🌹", "-x", '"a rose" OR -b', "rose:*"])
NUMBERS = st.integers(1, 9) | st.sampled_from([0, -1, 2**31, 10**30, "", "x", "1.5", "true"])
ETAGS = st.sampled_from(['"1"', '"2"', 'W/"3"', "*", "1", '"99999999999"', "é"])
REACHED = PositionTokens(SECRET).token(0)
POSITIONS = st.just(REACHED) | st.just(REACHED) | TEXT
KNOWN = st.sampled_from(["flowers/wild roses", "first"])
# Clients go up by dots, as by a path in a shell: nobody reaches such a slug.
SLUGS = KNOWN | KNOWN | TEXT.filter(lambda text: text.strip(".") != "")
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "slug": SLUGS,
    "q": TEXT,
    "position": POSITIONS,
    "Wiki-Position": POSITIONS,
    "If-Match": ETAGS,
    "If-None-Match": ETAGS,
}
RIGHT: Mapping[str, st.SearchStrategy[Any]] = {
    "create_page": st.fixed_dictionaries({"title": TEXT, "slug": SLUGS}),
    "change_page": st.one_of(
        [st.fixed_dictionaries({name: TEXT}) for name in ("title", "slug", "body")]
    ),
}
LEAF = st.none() | st.booleans() | st.integers() | TEXT
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_every_operation_tells_all() -> None:
    for _, path, operation in OPERATIONS:
        assert operation["description"], path
        assert {"429", "500", "503"} <= operation["responses"].keys()
        assert all(answer["description"] for answer in operation["responses"].values())
        commanding = "requestBody" in operation
        assert operation["security"] == ([{"token": []}] if commanding else [])
        assert ("401" in operation["responses"]) == commanding


def test_every_example_is_of_its_shape() -> None:
    examples = list(examples_in(DOCUMENT))
    assert len(examples) > 50
    for schema, example in examples:
        assert_fits(schema, example)


def test_every_type_of_problem_is_told_of() -> None:
    told = {
        name
        for _, _, operation in OPERATIONS
        for status, answer in operation["responses"].items()
        if int(status) >= 400
        for name in answer["content"]["application/problem+json"]["examples"]
    }
    # What no operation can answer, as it is not at an operation's address.
    assert {problem.code for problem in PROBLEMS} - told == {"no-address", "no-method"}


def examples_in(part: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each example in a part of the document, with the schema of it."""
    if isinstance(part, dict):
        match part:
            case {"schema": schema, "examples": dict(examples)}:
                yield from ((schema, example["value"]) for example in examples.values())
            case {"examples": list(examples)}:
                yield from ((part, example) for example in examples)
        for inner in part.values():
            yield from examples_in(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from examples_in(inner)


def assert_fits(schema: Any, value: Any) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(value)


# The pipeline that runs meanwhile makes random numbers.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_what_it_says_of_itself_is_so(environment: dict[str, str]) -> None:
    async with programs(environment) as (_, ann, bob):
        served_document = await ann.get("/api/openapi.json")
        assert served_document.json() == DOCUMENT
        page = (await ann.get("/api")).text
        for problem in PROBLEMS:
            assert f'id="{problem.code}"' in page
        made = await ann.post("/api/pages", {"title": "First", "slug": "first"})
        there = await ann.get(f"/api/changes?position={made.json()['position']}")
        assert there.is_success
        await its_examples_work(ann)
        for operation in OPERATIONS:
            await to_thread.run_sync(whatever_is_sent_is_answered_as_told, bob, *operation)


async def its_examples_work(ann: Program) -> None:
    transport = ann.client._transport
    assert isinstance(transport, ASGITransport)
    config = uvicorn.Config(transport.app, port=0, lifespan="off", log_config=None)
    async with serving(config) as server:
        (listening,) = server.servers[0].sockets
        base = f"http://localhost:{listening.getsockname()[1]}"
        async with AsyncClient(base_url=base) as client:
            examples = EXAMPLE.findall((await client.get("/api")).text)
        script = "\n".join(unescape(example) for example in examples)
        assert f"WIKI={base}\n" in script
        ran = await anyio.run_process(
            ["bash", "-euo", "pipefail", "-c", FAILING_CURL + script],
            env={"PATH": os.environ["PATH"], "TOKEN": ann.token},
            check=False,
        )
    assert ran.returncode == 0, ran
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    _pages, _changes, _made, page, found, _history, earlier = answers
    assert page["body"] == "# Roses\n\nThey are **wild**.\n"
    assert found["count"] == 1
    assert earlier["body"] == ""


def whatever_is_sent_is_answered_as_told(
    program: Program, method: str, path: str, operation: Mapping[str, Any]
) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests(path, operation))
    def send(request: Mapping[str, Any]) -> None:
        answer = from_thread.run(lambda: program.request(method, **request))
        assert_told(operation, answer)

    send()


@st.composite
def requests(draw: st.DrawFn, path: str, operation: Mapping[str, Any]) -> dict[str, Any]:
    """Draw what an operation may be sent, right or wrong."""
    places: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" or draw(st.booleans()):
            value = draw(VALUES.get(parameter["name"], NUMBERS))
            places[parameter["in"]][parameter["name"]] = str(value)
    for name, value in places["path"].items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    headers = {name: value.encode(errors="replace") for name, value in places["header"].items()}
    request: dict[str, Any] = {
        "path": f"/api{path}?{urlencode(places['query'])}",
        "headers": headers,
    }
    if "requestBody" in operation:
        right = RIGHT[operation["operationId"]]
        written = (right | right | JSON).map(lambda given_: json.dumps(given_).encode())
        request["content"] = draw(written | st.binary())
        headers["content-type"] = b"application/json"
    return request


def assert_told(operation: Mapping[str, Any], answer: Response) -> None:
    """Check that an answer is one that the document tells of."""
    told = operation["responses"][str(answer.status_code)]
    assert answer.status_code < 500 or "page-not-in-view" in answer.text, answer.text
    assert not {name for name in told.get("headers", {}) if name not in answer.headers}
    if "content" in told:
        assert_fits(told["content"][answer.headers["content-type"]]["schema"], answer.json())
    else:
        assert answer.content == b""
