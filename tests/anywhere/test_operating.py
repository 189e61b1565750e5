"""What is true of the wiki's views is true of a shop's, which no part of ours has heard of."""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import psycopg
import pytest
from anyio import to_thread
from anyio.from_thread import BlockingPortal
from eventsourcing.utils import resolve_topic
from httpx2 import ASGITransport, AsyncClient
from psycopg import sql
from typer.testing import CliRunner, Result

from eventsourcing_kafka.__main__ import app
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import free_port
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.compose.web.pipeline.app import window_app
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.registry import view_named
from eventsourcing_kafka.producer.runtime.pipeline import read_pipeline
from eventsourcing_kafka.testing.plugin import databases
from tests.pipeline import SECONDS, until
from tests.watching.asking import Told, Watcher

Env = dict[str, str]

ORDERS, SALES = "shop.views:ORDERS", "shop.views:SALES"
VIEWS = (ORDERS, SALES)
SHOP = "shop.application:Shop"
CUSTOMERS = ("Ada", "Bob", "Ada")


@pytest.fixture(scope="module")
def env(outside: Path, portal: BlockingPortal, kafka: Kafka, postgres: Postgres) -> Iterator[Env]:
    """The settings of the shop: it has nothing of a wiki."""
    token = f"shop{os.urandom(5).hex()}"
    with databases(portal, postgres, token) as make:
        yield {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": f"{token}.",
            "KAFKA_GROUP_PREFIX": f"{token}.",
            "KAFKA_TOPIC_PARTITIONS": "2",
            **postgres_environment(postgres, {n: make(n.lower()) for n in ("SHOP", "VIEWS")}),
            "ORDERS_POSTGRES_DBNAME": f"{token}_views",
            "SALES_POSTGRES_DBNAME": f"{token}_views",
            "SHIPPING_POSTGRES_DBNAME": f"{token}_views",
            "PYTHONPATH": str(outside),
            "COLUMNS": "300",
        }


class Process:
    """A command of ours that runs until it is told to stop."""

    def __init__(self, env: Mapping[str, str], log: Path, *command: str) -> None:
        self.log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "eventsourcing_kafka", *command],
                env={**os.environ, **env},
                stdout=file,
                stderr=file,
            )

    def stop(self) -> int:
        """Tell it to stop; return its exit code."""
        self._process.terminate()
        return self._process.wait(SECONDS)

    @property
    def said(self) -> str:
        """All that it has said, without line breaks."""
        return " ".join(self.log.read_text().split())


class Running:
    """The shop, its relay, and one process that keeps both of its views."""

    def __init__(self, env: Env, app: Any, consumer: Process, port: int) -> None:
        self.env = env
        self.app = app
        self.consumer = consumer
        self.port = port

    def applied(self, order_id: UUID, *views: str) -> None:
        """Wait until the views have all events of an order."""
        position = self.last()
        for name in views or VIEWS:
            store = ViewStore.of(view_named(name), self.env)
            anyio.run(partial(store.wait, position, order_id, seconds=SECONDS))

    def caught_up(self, view: str) -> None:
        """Wait until a view has all that there is, in all partitions."""
        store = ViewStore.of(view_named(view), self.env)
        anyio.run(partial(store.wait, self.last(), seconds=SECONDS))

    def last(self) -> int:
        """Return the position of the last event."""
        position: int = self.app.recorder.max_notification_id()
        return position

    def place(self, customer: str, cents: int = 100) -> UUID:
        """Have an order in the views."""
        order_id: UUID = self.app.place(customer, cents)
        self.applied(order_id)
        return order_id

    def rows(self, view: str, query: str) -> list[Any]:
        """Query a view's own tables."""
        with psycopg.connect(**self._connection(view)) as connection:
            return connection.execute(sql.SQL(query)).fetchall()

    def execute(self, view: str, statement: str) -> None:
        """Change a view behind everybody's back."""
        with psycopg.connect(**self._connection(view)) as connection:
            assert connection.execute(sql.SQL(statement)).rowcount == 1

    def _connection(self, view: str) -> dict[str, Any]:
        return ViewStore.of(view_named(view), self.env)._connect()


@pytest.fixture(scope="module")
def running(
    programs: None, env: Env, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder, port = tmp_path_factory.mktemp("logs"), free_port()
    with resolve_topic(SHOP)(env) as shop, ExitStack() as exits:
        relay = Process(env, folder / "relay", "producer", "relay", "-a", SHOP)
        exits.callback(relay.stop)
        port_of = ("--metrics-port", str(port), "--metrics-host", "127.0.0.1")
        consumer = Process(env, folder / "consumer", "consumer", "run", *VIEWS, *port_of)
        exits.callback(consumer.stop)
        started = Running(env, shop, consumer, port)
        for customer in CUSTOMERS:
            order_id = started.place(customer)
        shop.pay(order_id)
        started.applied(order_id)
        yield started


def invoke(env: Env, *command: str) -> Result:
    return CliRunner(env=env).invoke(app, [*command])


def answer(env: Env, *command: str) -> Any:
    """Return the JSON that a command prints."""
    result = invoke(env, *command, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_both_are_kept_in_one_process(running: Running) -> None:
    orders = running.rows(ORDERS, "SELECT customer, cents, paid FROM orders.orders")
    sales = running.rows(SALES, "SELECT customer, sum(orders) FROM sales.sales GROUP BY customer")

    assert sorted(orders) == [("Ada", 100, False), ("Ada", 100, True), ("Bob", 100, False)]
    assert dict(sales) == {"Ada": 2, "Bob": 1}


def test_status_shows_how_far_they_are(running: Running) -> None:
    rows = answer(running.env, "consumer", "status", *VIEWS)

    assert [(row["view"], row["partition"]) for row in rows] == [
        *(("orders", 0), ("orders", 1), ("sales", 0), ("sales", 1))
    ]
    assert {row["gap"] for row in rows} == {0}
    assert sum(row["records"] for row in rows if row["view"] == "sales") == len(CUSTOMERS) + 1


def test_top_shows_them_and_what_they_follow_and_nothing_else(running: Running) -> None:
    overview = answer(running.env, "compose", "top", *VIEWS)

    assert set(overview["views"]) == {"orders", "sales"}
    for part in ("heads", "relays", "topics"):
        assert set(overview[part]) == {"Shop"}
    assert overview["relays"]["Shop"]["gap"] == 0
    assert "outbox of Shop" in invoke(running.env, "compose", "top", ORDERS).stdout


@pytest.fixture
def in_a_file(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop in a file, with one more application, of which no more than the name is known."""
    monkeypatch.delenv("PIPELINE_FILE", raising=False)
    lines = ("[applications]", f'Shop = "{SHOP}"', "Till = {}", "[views]")
    views = [f'{topic.partition(":")[2].lower()} = "{topic}"' for topic in VIEWS]
    file = tmp_path / "pipeline.toml"
    file.write_text("\n".join([*lines, *views]))
    return file


def test_commands_are_about_all_that_a_file_names(running: Running, in_a_file: Path) -> None:
    told = ("--with", str(in_a_file))

    overview = json.loads(invoke(running.env, "compose", "top", *told, "--json").stdout)
    assert [set(overview[part]) for part in ("heads", "views")] == [
        {"Shop", "Till"},
        {"orders", "sales"},
    ]
    rows = answer(running.env, "consumer", "status", *told)
    assert {row["view"] for row in rows} == {"orders", "sales"}
    kafka = invoke(running.env, "compose", "grants", "kafka", *told).stdout
    assert {"User:shop_relay", "User:till_relay", "User:orders"} <= set(kafka.split())


def test_a_view_of_a_file_is_called_by_its_name(
    running: Running, in_a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(in_a_file.parent)

    assert invoke(running.env, "compose", "audit", "orders", "--no-rows").exit_code == 0
    assert answer(running.env, "consumer", "parked", "list", "-v", "sales") == []
    unknown = invoke(running.env, "consumer", "status", "sale")
    assert "has: orders, sales" in str(unknown.exception)


def test_the_schema_of_its_topic_is_described(running: Running) -> None:
    result = invoke(running.env, "producer", "schema", "-a", SHOP)

    messages = json.loads(result.stdout)["components"]["messages"]
    assert {message["name"] for message in messages.values()} >= {"Order.Placed", "Order.Paid"}


async def test_prometheus_is_told_of_each(running: Running) -> None:
    _, text = await Watcher(running.port).get("/metrics")
    told = Told(text)

    for view in ("orders", "sales"):
        assert told.figure("view_records_total", view=view) == len(CUSTOMERS) + 1
        assert told.figure("view_owned", view=view) == 2
    assert "fts" not in text


def test_what_a_view_brings_an_audit_for_is_compared(running: Running) -> None:
    report = answer(running.env, "compose", "audit", ORDERS)

    assert [topic["application"] for topic in report["topics"]] == ["Shop"]
    assert [view["rows"] for view in report["views"]] == [{"orders": len(CUSTOMERS)}]


def test_a_row_that_was_changed_is_found(running: Running) -> None:
    running.execute(ORDERS, "UPDATE orders.orders SET cents = 1 WHERE customer = 'Bob'")
    result = invoke(running.env, "compose", "audit", ORDERS, "--json")
    running.execute(ORDERS, "UPDATE orders.orders SET cents = 100 WHERE customer = 'Bob'")

    (finding,) = json.loads(result.stdout)["findings"]
    assert result.exit_code == 1
    assert (finding["where"], finding["fault"]) == ("orders.orders", "altered")
    assert "cents is 1, not 100" in finding["what"]


def test_what_it_brings_none_for_is_said_and_no_success(running: Running) -> None:
    result = invoke(running.env, "compose", "audit", SALES)

    assert result.exit_code == 1
    assert "audited: NOT all of it" in result.stdout
    assert "sales: its tracking compared, NOT compared: its rows" in result.stdout
    assert "Shop: 4 notifications" in result.stdout
    alone = invoke(running.env, "compose", "audit", SALES, "--no-rows")
    assert (alone.exit_code, "NOT" in alone.stdout) == (0, False)
    assert "sales: its tracking compared, not compared: its rows, as was asked" in alone.stdout


def test_an_audit_makes_no_tables_where_there_is_no_write_model(running: Running) -> None:
    result = invoke(running.env, "compose", "audit", "fts")

    assert result.exit_code == 1
    assert running.rows(ORDERS, "SELECT to_regclass('public.contentmanagement_events')") == [
        (None,)
    ]


def test_the_grants_are_for_its_own_topic(running: Running) -> None:
    kafka = invoke(running.env, "compose", "grants", "kafka", *VIEWS).stdout
    postgres = invoke(running.env, "compose", "grants", "postgres", *VIEWS).stdout

    prefix = running.env["KAFKA_TOPIC_PREFIX"]
    # The relay's, and of each view the right to read, and to see what the topic deletes.
    assert kafka.count(f"--topic {prefix}shop.events") == 1 + 2 * 2
    assert "User:shop_relay" in kafka
    assert f"--group {prefix}orders" in kafka
    assert 'GRANT SELECT ON "public"."shop_events" TO "shop_relay"' in postgres
    for role in ("shop_writer", "orders", "orders_reader", "sales", "sales_reader"):
        assert f'CREATE ROLE "{role}" LOGIN' in postgres
    for text in (kafka, postgres):
        assert "contentmanagement" not in text
        assert "fts" not in text


def test_the_statements_of_the_grants_can_be_executed(running: Running) -> None:
    script = invoke(running.env, "compose", "grants", "postgres", *VIEWS).stdout
    with psycopg.connect(**ViewStore.of(view_named(ORDERS), running.env)._connect()) as connection:
        of_views = script.rpartition("\\connect")[2].partition("\n")[2]
        connection.execute(of_views.encode())
        connection.rollback()


def test_a_replay_empties_it_and_fills_it_again(running: Running) -> None:
    would = answer(running.env, "consumer", "replay", SALES, "--dry-run")
    assert (would["view"], sum(would["records"].values())) == ("sales", len(CUSTOMERS) + 1)

    assert answer(running.env, "consumer", "replay", SALES, "--yes")["view"] == "sales"

    order_id = running.place("Cid")
    running.caught_up(SALES)  # The other partitions are applied again, too.
    assert running.rows(SALES, "SELECT sum(orders) FROM sales.sales") == [(len(CUSTOMERS) + 1,)]
    running.applied(order_id)


def test_a_rebuild_fills_a_new_one_and_swaps(running: Running) -> None:
    before = running.rows(ORDERS, "SELECT * FROM orders.orders ORDER BY id")

    done = answer(running.env, "consumer", "rebuild", ORDERS, "--yes")

    assert done == {"view": "orders", "swapped_back": False, "swapped": True}
    assert running.rows(ORDERS, "SELECT * FROM orders.orders ORDER BY id") == before


def test_what_can_not_be_applied_is_parked_retried_and_dropped(running: Running) -> None:
    order_id = running.place("Eve", -1)
    view = ("--view", ORDERS)

    (parked,) = answer(running.env, "consumer", "parked", "list", *view)
    assert (parked["type"], parked["originator_id"]) == ("Order.Placed", str(order_id))
    assert f"parked list --view {ORDERS}" in running.consumer.said
    failing = invoke(running.env, "consumer", "parked", "retry", "--all", *view)
    assert failing.exit_code == 1
    assert "can't cost less than nothing" in failing.stderr
    shown = answer(running.env, "consumer", "parked", "show", str(parked["id"]), *view)
    assert "ValueError" in shown["traceback"]
    assert {"name": "ce_type", "value": parked["type"]} in shown["headers"]
    told = invoke(running.env, "consumer", "parked", "show", str(parked["id"]), *view)
    assert f"\n  ce_type: {parked['type']}\n" in told.stdout
    dropped = invoke(
        *(running.env, "consumer", "parked", "drop", str(parked["id"]), *view),
        *("--reason", "by mistake", "--yes"),
    )
    assert f"parked retry --view {ORDERS} --all" in dropped.stdout
    (given_up,) = answer(running.env, "consumer", "parked", "dropped", *view)
    assert given_up["reason"] == "by mistake"
    assert answer(running.env, "consumer", "parked", "list", *view) == []


def test_where_no_consumer_has_been_it_is_said_how_to_start_its_own(
    running: Running, database: Callable[[str], str]
) -> None:
    env = running.env | {"SALES_POSTGRES_DBNAME": database("empty")}

    result = invoke(env, "consumer", "replay", SALES, "--dry-run")

    assert result.exit_code == 1
    assert str(result.exception).endswith(f"eventsourcing-kafka consumer run {SALES}")


def test_a_partition_that_has_stopped_says_how_to_see_why_and_can_be_had_to_go_on(
    running: Running,
    database: Callable[[str], str],
    kafka: Kafka,
    portal: BlockingPortal,
    tmp_path: Path,
) -> None:
    running.place("Eve", -1)
    named = {"ORDERS_POSTGRES_DBNAME": database("own"), "ORDERS_POSTGRES_SCHEMA": "own"}
    env = running.env | named
    log = tmp_path / "log"
    process = Process(env, log, "consumer", "run", ORDERS, "--on-error", "stop")
    says_why = f"eventsourcing-kafka consumer status {ORDERS} says why"

    async def is_said() -> bool:
        return says_why in process.said

    anyio.run(until, is_said)

    assert process.stop() == 1
    shown = invoke(env, "consumer", "status", ORDERS)
    assert shown.exit_code == 1
    assert "can't cost less than nothing" in shown.stdout

    topic = f"{env['KAFKA_TOPIC_PREFIX']}shop.events"
    group = ("--group", f"{env['KAFKA_GROUP_PREFIX']}own", "--topic", topic)
    skip = ("consumer-groups", *group, "--reset-offsets", "--to-latest", "--execute")
    portal.call(partial(kafka.tool, *skip))
    process = Process(env, log, "consumer", "run", ORDERS, "--on-error", "stop")
    order_id = running.app.place("Dan", 5)
    store = ViewStore.of(view_named(ORDERS), env)
    anyio.run(partial(store.wait, running.last(), order_id, seconds=SECONDS))

    assert process.stop() == 0
    skipped = answer(env, "consumer", "parked", "dropped", "--view", ORDERS)
    assert skipped
    assert all(each["skipped_to"] for each in skipped)


LEADING = "outbox-{0} relay-{0} topic-{0}"


@asynccontextmanager
async def window_on(running: Running, outside: Path) -> AsyncIterator[AsyncClient]:
    """Look through the window as an operator: at all of the shop, also what does not run."""
    pipeline = read_pipeline(outside / "shop" / "pipeline.toml")
    window = window_app(pipeline.environment(running.env), "secret" * 6, pipeline)
    transport = ASGITransport(window)
    async with (
        window.router.lifespan_context(window),
        AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        form = (await client.get("/sign-in")).text
        (token,) = re.findall('name="token" value="(.+?)"', form)
        await client.post("/sign-in", data={"name": "operator", "token": token})
        yield client


async def test_the_window_shows_each_application_and_those_that_follow_it(
    running: Running, outside: Path
) -> None:
    async with window_on(running, outside) as client:
        to_it = await client.get("/")
        assert to_it.headers["location"] == "/pipeline"
        shown = (await client.get("/pipeline")).text

    shop, packing = re.split('<h2 class="stream"', shown)[1:]
    cards = [
        re.findall('<article class="card [a-z]+" id="(.+?)"', each) for each in (shop, packing)
    ]
    assert cards == [
        [*LEADING.format("shop").split(), "view-orders", "view-sales", "view-packing_shop"],
        [*LEADING.format("packing").split(), "view-shipping_packing"],
    ]
    assert 'href="#outbox-packing"' in shop
    assert "/pipeline/views/orders/rebuild" in shop
    assert "/pipeline/views/packing_shop/rebuild" not in shop
    assert "/pipeline/views/orders/replay" in shown
    assert "/pipeline/views/packing_shop/replay" not in shown  # It would only be refused.
    assert "Wiki" not in shown


async def test_an_aggregate_has_a_page_with_its_events_and_where_it_is_parked_and_why(
    running: Running, outside: Path
) -> None:
    order_id = running.app.place("Eve", -1)
    await to_thread.run_sync(running.applied, order_id)

    async with window_on(running, outside) as client:
        path = f"/pipeline/aggregate?application=Shop&id={str(order_id).upper()}"
        shown = (await client.get(path)).text
        parked = (await client.get("/pipeline/views/orders/parked")).text
        nobody = await client.get("/pipeline/aggregate?application=Shop&id=nobody")
        nothing = await client.get("/pipeline/aggregate?application=Till&id=1")
        unsaid = await client.get("/pipeline/aggregate?application=Shop")

    assert 'Parked in <a href="/pipeline/views/orders/parked">orders</a>' in shown
    assert "ValueError: an order can&#39;t cost less than nothing" in shown
    verdicts = re.findall('<td><span class="[a-z]+">(.+?)</span></td>', shown)
    assert verdicts[:2] == ["parked", "applied"]
    assert "Order.Placed" in shown
    assert f"/pipeline/aggregate?application=Shop&amp;id={order_id}" in parked
    assert (nobody.status_code, nothing.status_code, unsaid.status_code) == (404, 404, 404)
    assert ("Say which: its ID is missing" in unsaid.text, "in partition" in unsaid.text) == (
        True,
        False,
    )
    assert "has no events of it" in nobody.text
