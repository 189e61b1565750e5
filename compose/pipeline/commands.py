"""The commands about a pipeline as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from eventsourcing_kafka.compose.pipeline.check import Check, check
from eventsourcing_kafka.compose.pipeline.files import compose_files, write_files
from eventsourcing_kafka.compose.stack.parts import Services, loops_of, named
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.logs import complain
from eventsourcing_kafka.producer.runtime.output import AsJson, tell
from eventsourcing_kafka.producer.runtime.pipeline import (
    FILE_NAME,
    Pipeline,
    PipelineError,
    PipelineFile,
    Problem,
    look_beside,
    read_pipeline,
    read_what_can_be,
)

COMMANDS = typer.Typer()

SERVERS = ("KAFKA_BOOTSTRAP_SERVERS", "POSTGRES_HOST")


@COMMANDS.command("check")
def check_pipeline(
    file: PipelineFile = None,
    settings: Annotated[
        bool,
        typer.Option(
            help="Say which settings are missing, too, though no servers are named yet: "
            "`compose up` sets them."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say all that is wrong with a pipeline, before anything starts; exit with 1 if anything is.

    It tells the parts that would run; with --json their commands and settings, too, for whoever
    starts them by other means. All that it names is imported; no server is asked. Settings are
    looked for once a server is named, by the file or the environment.

    Example: eventsourcing-kafka compose check

    Example: eventsourcing-kafka compose check --with shop/pipeline.toml --settings
    """
    runs: Services = {}
    told: Mapping[str, str] = {}
    try:
        found = _required(file)
        look_beside(found)
        pipeline, misread = read_what_can_be(found)
        problems = _problems(pipeline, misread, settings=settings)
        if not problems:
            runs, told = loops_of(pipeline), pipeline.environment({})
    except PipelineError as error:
        problems = list(error.problems)
    if as_json:
        typer.echo(msgspec.json.encode({"problems": problems, "runs": runs, "settings": told}))
    elif problems:
        for problem in problems:
            complain(problem)
    else:
        typer.echo(f"{pipeline.file}: {', '.join(runs)}")
    if problems:
        raise typer.Exit(1)


@COMMANDS.command("files")
def write_compose_files(
    folder: Annotated[Path, typer.Argument(help="Where to.")] = Path("cluster"),
    file: PipelineFile = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the compose files of a pipeline: containers, Prometheus, Grafana, and its alerts.

    The folder of the pipeline's file becomes the image that all its processes run in; what else
    they need is in a requirements.txt or a pyproject.toml there. Settings of servers are left to
    the compose file.

    Example: eventsourcing-kafka compose files cluster --with shop/pipeline.toml
    """
    pipeline = required_pipeline(file)
    check(pipeline)
    files = compose_files(pipeline, folder.absolute())
    write_files(files, folder, force=force)
    start = f"cd {folder} && docker compose up --detach --build"
    facts = {"folder": str(folder), "files": list(files)}
    tell(f"{folder}: {', '.join(files)}\nStart it: {start}", facts, as_json=as_json)


def required_pipeline(file: Path | None) -> Pipeline:
    """Return the pipeline of a file, or of the current folder. Raises `SettingsError` if none."""
    found = _required(file)
    look_beside(found)
    return read_pipeline(found)


def _required(file: Path | None) -> Path:
    found = file or Path(FILE_NAME)
    if file is None and not found.exists():
        raise SettingsError(f"There is no {FILE_NAME} in this folder: name one, --with FILE")
    return found


def _problems(pipeline: Pipeline, misread: Sequence[Problem], *, settings: bool) -> list[str]:
    checked = Check(pipeline, misread)
    problems = checked.problems()
    if settings or any(name in pipeline.environment(os.environ) for name in SERVERS):
        problems += [
            f"{pipeline.file}: {variable} is not set, there or in the environment"
            for variable in checked.missing_settings(os.environ, named(checked.runnable()))
        ]
    return problems
