"""Which stack a command is about: the one of this shell, or one that runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from eventsourcing_kafka.producer.runtime.pipeline import PIPELINE_FILE, Pipeline, found_pipeline

WhichData = Annotated[
    Path | None, typer.Option("--data", help="The data folder of the stack, if several run.")
]


class Meant(NamedTuple):
    """What a command is about."""

    environment: Mapping[str, str]
    pipeline: Pipeline | None


def meant(data: Path | None, file: Path | None) -> Meant:
    """Return the pipeline that is meant, if one is, and the settings to reach it.

    It is that of a file, else of the current folder, else what a stack runs. Its servers are those
    that are set, else a running stack's. Raises `PipelineError`, or as `stack_environment` does.
    """
    pipeline = found_pipeline(file)
    if pipeline and not data:
        environment = pipeline.environment(os.environ)
        if "KAFKA_BOOTSTRAP_SERVERS" in environment:
            return Meant(environment, pipeline)
    settings = stack_environment(data)
    if pipeline is None and (runs := settings.get(PIPELINE_FILE)):
        pipeline = found_pipeline(Path(runs))
    return Meant(pipeline.environment(settings) if pipeline else settings, pipeline)


def stack_environment(data: Path | None) -> Mapping[str, str]:
    """Return the settings of the stack that is meant: of this shell, or of a running one.

    Raises `StackError` when none runs, or more than one to choose from.
    """
    if not data and "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        return os.environ
    return running_environment(data)


def running_environment(data: Path | None) -> Mapping[str, str]:
    """Return the settings of a stack that runs. Raises `StackError`."""
    from eventsourcing_kafka.compose.stack.stack import running_stack

    return running_stack(data).environment
