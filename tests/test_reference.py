"""The pages that are looked things up in have all that there is: settings, names, headers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.audit.kept import CREATE_AUDITED
from eventsourcing_kafka.compose.pipeline.check import KNOWN
from eventsourcing_kafka.consumer.engine.parking import CREATE_DROPPED, CREATE_PARKED
from eventsourcing_kafka.consumer.engine.store import ViewStore, group_of
from eventsourcing_kafka.consumer.engine.tracking import CREATE_TRACKING
from eventsourcing_kafka.consumer.hosting.edge import edge_name
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.producer.kafka.security import SECRETS
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics
from eventsourcing_kafka.producer.relay.publisher import transactional_id
from eventsourcing_kafka.producer.wire.tracing import TRACE_HEADERS
from tests.anywhere.shop.views import ORDERS
from tests.pipeline import ROOT
from tests.test_architecture import MODULES
from tests.test_command_lines import LEAVES

DOCS = ROOT / "docs"
CODE = re.compile(r"`([^`\n]+)`")


def code_on(*pages: str) -> set[str]:
    """Return all that some pages have as code, without what it is set to."""
    return {
        code.partition("=")[0] for page in pages for code in CODE.findall((DOCS / page).read_text())
    }


def texts_in(module: Path) -> Iterator[str]:
    """Yield the texts in the code of a module."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def texts_like(pattern: str, *packages: str) -> set[str]:
    """Return the texts in the code of some packages that are all of a pattern."""
    return {
        text
        for name, path in MODULES.items()
        if name.startswith(packages)
        for text in texts_in(path)
        if re.fullmatch(pattern, text)
    }


def test_every_setting_is_on_its_page() -> None:
    options = {
        str(parameter.envvar)
        for command in LEAVES.values()
        for parameter in command.params
        if getattr(parameter, "envvar", None)
    }
    settings = {*KNOWN, *KafkaSettings.__struct_encode_fields__, *SECRETS, *options}
    settings |= texts_like(r"WEB_[A-Z_]+[A-Z]", "compose.web")
    settings |= texts_like(r"EVENTSOURCING_KAFKA_[A-Z]+", "compose")

    assert len(settings) > 50
    assert sorted(settings - code_on("SETTINGS.md", "SECURITY.md")) == []


def test_every_header_is_on_a_page() -> None:
    headers = texts_like(r"ce_[a-z]+|content-type", "producer.wire") | set(TRACE_HEADERS)

    assert len(headers) > 15
    assert sorted(headers - code_on("WIRE.md", "TAGGED.md")) == []


def test_the_names_of_kafka_are_those_of_the_page() -> None:
    settings = KafkaSettings(topic_prefix="PREFIX", group_prefix="GROUP")
    store = ViewStore(ORDERS, dict, "orders", {})
    topics = Topics.of("Shop", settings)
    names = [
        *(topics.events, topics.position),
        *(transactional_id("Shop", settings), group_of(store, settings)),
        f"GROUP{edge_name('Packing', 'Shop')}",
    ]
    page = (DOCS / "NAMES.md").read_text()

    assert [name for name in names if _row(name) not in page] == []


def _row(name: str) -> str:
    prefix = "PREFIX" if name.startswith("PREFIX") else "GROUP"
    return f"| `{prefix}` + `{name.removeprefix(prefix)}` |"


@pytest.mark.parametrize(
    "statement", [CREATE_TRACKING, CREATE_PARKED, CREATE_DROPPED, CREATE_AUDITED]
)
def test_the_tables_of_a_view_are_on_the_page(statement: str) -> None:
    (table,) = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?\{schema\}\.(\w+)", statement)

    assert f"orders.{table}" in code_on("NAMES.md")


def test_the_generations_of_a_view_are_on_the_page() -> None:
    rebuild = Rebuild(ViewStore(ORDERS, dict, "orders", {}), KafkaSettings())

    past = rebuild._active.as_of(1234)
    assert {rebuild._next.schema, rebuild._kept.schema, past.schema} <= code_on("NAMES.md")
