"""`eventsourcing-kafka producer schema`: describe the topics, and keep the description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from eventsourcing.application import Application
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dcb.msgpack import MessagePackMapper
from eventsourcing.persistence import Mapper
from eventsourcing.utils import Environment, get_topic, resolve_topic

from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.applications import (
    AnyApplication,
    ApplicationTopic,
    chosen,
    is_known_by_name,
)
from eventsourcing_kafka.producer.runtime.errors import OperatorError, SettingsError
from eventsourcing_kafka.producer.runtime.pipeline import (
    Pipeline,
    PipelineFile,
    found_pipeline,
    settings_with,
)
from eventsourcing_kafka.producer.runtime.plugins import found_at

# What makes the document is imported where it is made: the relay starts without it.
if TYPE_CHECKING:
    from eventsourcing_kafka.producer.schema.changes import Break
    from eventsourcing_kafka.producer.schema.document import Document, Language


class LanguageBrokenError(OperatorError):
    """Readers of older or newer events would no longer understand them."""

    def __init__(self, found: Iterable[Break]) -> None:
        lines = "\n".join(f"- {each}" for each in found)
        super().__init__(f"Readers of older or newer events would break:\n{lines}")


class SchemaOutdatedError(OperatorError):
    """The kept document does not say what the event classes say, though no reader would break."""


def publish_schema(
    application: ApplicationTopic = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", metavar="MODULE:SYSTEM", help="All leaders of a system, in one document."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="Write it here, if nothing kept here breaks."
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", exists=True, dir_okay=False, help="Write nothing; compare with what is here."
        ),
    ] = None,
    file: PipelineFile = None,
) -> None:
    """Describe the topic of an application: AsyncAPI 3, a JSON Schema for each event type.

    It is made from the event classes alone, needs no server, and is JSON (so it is YAML as well).
    What a transcoding of your own makes is what its `encode` is annotated to return, or the JSON
    Schema that its class has as its attribute `json_schema`; else it is said to be anything.
    Keep it in your repository. What would break a reader of older or newer events is refused, with
    what to do instead; versions of events that only the file still knows are carried on.

    Example: eventsourcing-kafka producer schema -a shop.application:Shop --output schema.json
    """
    from eventsourcing_kafka.producer.schema.changes import breaks
    from eventsourcing_kafka.producer.schema.document import described

    pipeline, env = found_pipeline(file), settings_with(file)
    if not (application or system or pipeline):
        raise typer.BadParameter("say which", param_hint="--application or --system")
    if output and check:
        raise typer.BadParameter("give one of them", param_hint="--output and --check")
    languages = _languages(application, system, env, pipeline)
    kept_in = output or check
    kept = _read(kept_in) if kept_in and kept_in.exists() else None
    document = described(languages, KafkaSettings.from_env(env), kept)
    if found := breaks(kept or {}, document):
        raise LanguageBrokenError(found)
    text = msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"
    if check:
        _check_current(check, kept, document)
    elif output:
        output.write_text(text)
    else:
        typer.echo(text, nl=False)


def _languages(
    application: str | None,
    system: str | None,
    env: Mapping[str, str],
    pipeline: Pipeline | None,
) -> list[Language]:
    from eventsourcing.system import System

    if not system:
        application_class = chosen(application, None, env, pipeline)
        if is_known_by_name(application_class):
            raise SettingsError(
                f"No more is known of {application_class.name} than its name: name its class, "
                "-a module:Class"
            )
        return [_language(application_class, env)]
    found = found_at(system)
    if not isinstance(found, System):
        raise SettingsError(f"{system} is no system of the library, but a {type(found).__name__}.")
    return [_language(found.get_app_cls(name), env) for name in found.leaders]


def _language(application_class: type[AnyApplication], settings: Mapping[str, str]) -> Language:
    from eventsourcing_kafka.producer.published import language_of
    from eventsourcing_kafka.producer.schema.document import Language

    env = Environment(application_class.name, {**application_class.env, **settings})
    if issubclass(application_class, DCBApplication):
        tagged = resolve_topic(env.get("MAPPER_TOPIC") or get_topic(MessagePackMapper))()
        return Language(application_class.name, language_of(application_class), tagged=tagged)
    mapper = _mapper(application_class, env)
    encrypted = bool(env.get("CIPHER_TOPIC") or env.get("CIPHER_KEY")) or mapper.cipher is not None
    return Language(application_class.name, language_of(application_class), encrypted, mapper)


def _mapper(application_class: type[Application[Any]], env: Environment) -> Mapper[Any]:
    """Return what an application stores its events with, without its key, made of its class alone.

    Raises `SettingsError` where that takes what only an instance has.
    """
    from eventsourcing.popo import POPOFactory

    ways = {name: env.get(name, "") for name in ("MAPPER_TOPIC", "TRANSCODER_TOPIC")}
    application = object.__new__(application_class)
    env = Environment(application_class.name, ways)
    vars(application).update(env=env, factory=POPOFactory(env))  # As the library's __init__ does.
    try:
        return application.construct_mapper()
    except AttributeError as error:
        raise SettingsError(
            f"What {application_class.name} registers transcodings by has to do without what its "
            f"__init__ makes: {error}."
        ) from error


def _read(path: Path) -> Document:
    try:
        document: Document = msgspec.json.decode(path.read_bytes(), type=dict)
    except msgspec.DecodeError:
        document = {}
    if "asyncapi" not in document:
        raise SettingsError(f"{path} is no document that this command wrote: name another file.")
    return document


def _check_current(path: Path, kept: Document | None, document: Document) -> None:
    # Where the topics are is a deployment's own affair.
    if (kept or {}).get("components") != document["components"]:
        raise SchemaOutdatedError(
            f"{path} is not what the event classes say now, and no reader would break. "
            f"Write it anew: the same command with --output {path}"
        )
