"""The compose files of a pipeline: containers, what watches them, and whom they wake up.

`compose/cluster` has them for the sample. Those of another pipeline are the same, with its own
processes, databases and alerts in the place of the sample's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from eventsourcing_kafka.compose.stack.parts import Services, databases_of, loops_of
from eventsourcing_kafka.compose.stack.sample import SAMPLE
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.pipeline import PIPELINE_FILE, Pipeline

CLUSTER = Path(__file__).parent.parent / "cluster"

Block = Callable[[Pipeline], Sequence[str]]
"""Returns what a file has of a pipeline, piece by piece."""

AS_THEY_ARE = (
    "alerts.yaml",
    "three-brokers.env",
    "grafana/datasources/prometheus.yaml",
    "grafana/dashboards/pipeline.yaml",
    "grafana/dashboards/pipeline.json",
)

IN_THE_IMAGE = "/srv/pipeline"

OF_THE_CONTAINERS = re.compile(
    r"PERSISTENCE_MODULE|POSTGRES_(HOST|PORT|USER|PASSWORD\w*)|\w*POSTGRES_DBNAME"
    rf"|KAFKA_BOOTSTRAP_SERVERS|{PIPELINE_FILE}"
)
"""Settings that the compose file has anyway."""

DOCKERFILE = f"""\
# syntax=docker/dockerfile:1
# One image for every process of the pipeline: the folder of its file, and what that needs. A wheel
# that lies there is taken before one of an index.

FROM python:3.11.15-slim-trixie
WORKDIR {IN_THE_IMAGE}
COPY . .
RUN pip install --no-cache-dir --find-links . "eventsourcing-kafka=={{version}}" \\
    && if [ -f requirements.txt ]; then pip install --no-cache-dir -r requirements.txt; fi \\
    && if [ -f pyproject.toml ]; then pip install --no-cache-dir --find-links . .; fi
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["eventsourcing-kafka", "compose", "check"]
"""

DOCKERIGNORE = """\
# What is not for the image.
.git
.venv
**/__pycache__
**/*.env
data

# What a stack keeps in its data folder, whatever that is called: databases, secrets and logs.
**/web.secret
**/web.new
**/owner.lock
**/server.json
**/postgres/cluster
**/postgres/cluster.new
**/postgres/password
**/kafka/storage
**/kafka/server.properties
**/kafka/cluster.id
**/cassandra/storage
**/cassandra/cassandra.yaml
**/*.log
"""


class WouldOverwriteError(SettingsError):
    """A file is there already, and differs."""


def compose_files(pipeline: Pipeline, folder: Path) -> Mapping[str, str]:
    """Return the files to be written into a folder, by their names."""
    return {
        "compose.yaml": _compose(pipeline, folder),
        "databases.sql": _databases(pipeline),
        "prometheus.yaml": _replaced("prometheus.yaml", pipeline, _scraped),
        "Dockerfile": DOCKERFILE.format(version=version("eventsourcing-kafka")),
        "Dockerfile.dockerignore": DOCKERIGNORE,
        **{name: (CLUSTER / name).read_text() for name in AS_THEY_ARE},
    }


def write_files(files: Mapping[str, str], folder: Path, *, force: bool) -> None:
    """Write files into a folder. Raises `WouldOverwriteError`, unless it is said to be right."""
    for name, text in files.items():
        file = folder / name
        if not force and file.exists() and file.read_text() != text:
            raise WouldOverwriteError(f"{file} is there already, and differs: say --force")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _compose(pipeline: Pipeline, folder: Path) -> str:
    text = _replaced("compose.yaml", pipeline, _processes, _settings, _waited_for)
    if pipeline.file is None:
        return text
    context = pipeline.file.parent
    name = re.sub(r"[^a-z0-9_-]", "-", context.name.lower()).lstrip("_-") or "pipeline"
    sample = _sole(r"^  image: eventsourcing-kafka.*\n  build:\n    context.*\n.*\n", text)
    dockerfile = os.path.relpath(folder / "Dockerfile", context)
    build = f"context: {os.path.relpath(context, folder)}\n    dockerfile: {dockerfile}\n"
    image = f"  image: {name}:${{VERSION:-latest}}\n  build:\n    {build}"
    return text.replace(sample, image).replace("name: eventsourcing-kafka\n", f"name: {name}\n", 1)


def _sole(pattern: str, text: str) -> str:
    (found,) = re.finditer(pattern, text, re.MULTILINE)
    return found[0]


def _replaced(name: str, pipeline: Pipeline, *blocks: Block) -> str:
    """Return a file of the sample with the pipeline's blocks in the place of the sample's."""
    text = (CLUSTER / name).read_text()
    for block in blocks:
        for its, ours in zip(block(SAMPLE), block(pipeline), strict=True):
            assert text.count(its) == 1, (name, its)  # noqa: S101 - the sample has it, and once
            text = text.replace(its, ours)
    return text


def _service(part: str) -> str:
    return re.sub(r"[^a-z0-9.-]", "-", part.lower())


def _processes(pipeline: Pipeline) -> Sequence[str]:
    services = "".join(
        f"{_head(part)}\n    <<: *ours\n    command: {_command(command)}\n"
        "    deploy: {replicas: 2}\n\n"
        for part, command in loops_of(pipeline).items()
    )
    return [services]


def _head(part: str) -> str:
    says = "  # One publishes; the other waits, and takes over." if part.startswith("relay") else ""
    return f"  {_service(part)}:{says}"


def _command(command: Sequence[str]) -> str:
    words = [f'"{word}"' if ":" in word else word for word in ("eventsourcing-kafka", *command)]
    return f"[{', '.join(words)}]"


def _settings(pipeline: Pipeline) -> Sequence[str]:
    topics = [part.at for part in pipeline.applications.values() if part.at]
    application = [f"    APPLICATION_TOPIC: {topics[0]}\n"] if len(topics) == 1 else []
    first, *others = databases_of(pipeline).items()
    databases = [("POSTGRES_DBNAME", first[1])]
    databases += [(f"{prefix}_POSTGRES_DBNAME", name) for prefix, name in others]
    own = [
        f"    {name}: {json.dumps(value.replace('$', '$$'))}\n"
        for name, value in pipeline.environment({}).items()
        if not OF_THE_CONTAINERS.fullmatch(name)
    ]
    if pipeline.file:
        own.append(f"    {PIPELINE_FILE}: {IN_THE_IMAGE}/{pipeline.file.name}\n")
    named = [f"    {variable}: {name}\n" for variable, name in databases]
    start = "  environment: &settings\n"
    return ["".join([start, *application]), "".join([*named, *own])]


def _waited_for(pipeline: Pipeline) -> Sequence[str]:
    """Return the database that is made last."""
    *_, last = dict.fromkeys(databases_of(pipeline).values())
    return [f'"--dbname={last}"']


def _databases(pipeline: Pipeline) -> str:
    head, _, _ = (CLUSTER / "databases.sql").read_text().partition("CREATE")
    names = dict.fromkeys(databases_of(pipeline).values())
    return head + "".join(f"CREATE DATABASE {_identifier(name)};\n" for name in names)


def _identifier(name: str) -> str:
    return (
        name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"{}"'.format(name.replace('"', '""'))
    )


def _scraped(pipeline: Pipeline) -> Sequence[str]:
    return ["".join(_jobs(loops_of(pipeline)))]


def _jobs(loops: Services) -> Iterator[str]:
    """Yield the jobs of Prometheus: what publishes, and what follows."""
    relays = [_service(part) for part in loops if part.startswith("relay")]
    followers = [_service(part) for part in loops if not part.startswith("relay")]
    for job, names in (("relay", relays), ("consumer", followers)):
        if names:
            yield (
                f"  - job_name: {job}\n    dns_sd_configs:\n"
                f"      - {{names: [{', '.join(names)}], type: A, port: 9464}}\n"
            )
