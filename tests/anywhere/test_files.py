"""The compose files of any pipeline are those of the sample, with its own parts in them."""

import json
import re
from pathlib import Path, PurePath
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from typer.testing import CliRunner

from eventsourcing_kafka.__main__ import app
from eventsourcing_kafka.compose.pipeline.files import CLUSTER, compose_files
from eventsourcing_kafka.compose.stack.sample import SAMPLE

PARTS = ["relay-shop", "relay-packing", "consumer-orders", "consumer-sales"]
FOLLOWERS = ["follower-packing", "follower-shipping"]


def write(folder: Path, *options: str) -> Any:
    return CliRunner(env={"COLUMNS": "300"}).invoke(
        app, ["compose", "files", str(folder), "--json", *options]
    )


@pytest.fixture
def written(outside: Path, tmp_path: Path) -> Path:
    result = write(tmp_path, "--with", str(outside / "shop" / "pipeline.toml"))
    assert result.exit_code == 0, result.output
    assert sorted(json.loads(result.stdout)["files"]) == sorted(
        str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()
    )
    return tmp_path


@pytest.fixture
def services(written: Path) -> dict[str, Any]:
    compose = yaml.safe_load((written / "compose.yaml").read_text())
    jsonschema.validate(compose, get_builtin_schema("vendor.compose-spec"))
    found: dict[str, Any] = compose["services"]
    return found


@pytest.mark.parametrize(
    "name", ["compose.yaml", "databases.sql", "prometheus.yaml", "alerts.yaml"]
)
def test_those_of_the_sample_are_what_the_command_makes_of_it(name: str) -> None:
    assert compose_files(SAMPLE, CLUSTER)[name] == (CLUSTER / name).read_text()


def test_each_part_is_a_service_with_the_settings_of_the_pipeline(services: dict[str, Any]) -> None:
    ours = [name for name, service in services.items() if "build" in service]

    assert ours == [*PARTS, *FOLLOWERS, "commands"]
    for name in ours:
        settings = services[name]["environment"]
        assert settings["KAFKA_TOPIC_PARTITIONS"] == "2"
        assert settings["SHIPPING_POSTGRES_DBNAME"] == "trucks"
        assert settings["PIPELINE_FILE"] == "/srv/pipeline/pipeline.toml"


def test_each_service_runs_a_command_that_there_is(services: dict[str, Any]) -> None:
    for name in (*PARTS, *FOLLOWERS):
        _, *arguments = services[name]["command"]
        assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


def test_the_image_is_built_of_the_folder_of_the_pipeline(
    services: dict[str, Any], written: Path, outside: Path
) -> None:
    build = services["relay-shop"]["build"]

    context = (written / build["context"]).resolve()
    assert context == outside / "shop"
    assert (context / build["dockerfile"]).resolve() == written / "Dockerfile"


@pytest.mark.parametrize(
    "kept",
    [
        "web.secret",
        "relay-Shop.log",
        "postgres/cluster",
        "postgres/password",
        "kafka/storage",
        "cassandra/storage",
    ],
)
def test_what_a_stack_keeps_is_not_in_the_image_whatever_its_folder_is_called(
    written: Path, kept: str
) -> None:
    left_out = (written / "Dockerfile.dockerignore").read_text().splitlines()

    anywhere = [line.removeprefix("**/") for line in left_out if line.startswith("**/")]

    assert any(PurePath("stack", kept).match(name) for name in anywhere)
    assert not any(PurePath("shop/postgres/views.py").match(name) for name in anywhere)


def test_what_is_mounted_is_there_and_a_database_for_each(
    services: dict[str, Any], written: Path
) -> None:
    mounts = [m for service in services.values() for m in service.get("volumes", ()) if m[0] == "."]
    assert all((written / mount.split(":")[0]).exists() for mount in mounts)
    made = re.findall("CREATE DATABASE (.+);", (written / "databases.sql").read_text())
    assert made == ["shop", "packing", "orders", "sales", "trucks"]
    assert f"--dbname={made[-1]}" in services["postgres"]["healthcheck"]["test"]


def test_prometheus_asks_each_part_and_the_alerts_are_for_any(
    written: Path,
) -> None:
    jobs = yaml.safe_load((written / "prometheus.yaml").read_text())["scrape_configs"]
    asked = [name for job in jobs for config in job["dns_sd_configs"] for name in config["names"]]
    assert asked == [*PARTS, *FOLLOWERS]

    # Which applications and views there are, alerts learn from what was told of them before.
    assert (written / "alerts.yaml").read_text() == (CLUSTER / "alerts.yaml").read_text()


def test_what_somebody_has_changed_is_not_overwritten_unasked(written: Path, outside: Path) -> None:
    (written / "alerts.yaml").write_text("groups: []\n")
    told = ("--with", str(outside / "shop" / "pipeline.toml"))

    refused = write(written, *told)

    assert str(refused.exception).endswith("alerts.yaml is there already, and differs: say --force")
    assert write(written, *told, "--force").exit_code == 0
