"""The kept schemas say what the event classes say, and the command keeps them so."""

import json
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.system import ProcessApplication
from eventsourcing.utils import get_topic
from typer.testing import CliRunner

from eventsourcing_kafka.compose.stack.sample import APPLICATION
from eventsourcing_kafka.producer.command_line import app
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.schema.changes import breaks
from eventsourcing_kafka.producer.schema.command import LanguageBrokenError, SchemaOutdatedError
from tests.pipeline import ROOT

from .languages import APPLICATIONS, kept_path

WIKI = ROOT / "producer/contentmanagement/schema.json"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_TOPIC_PREFIX", raising=False)


def schema(*arguments: object) -> str:
    """Run the command, and return what it prints. Raises what it ends with."""
    done = CliRunner().invoke(
        app, ["schema", *map(str, arguments)], env={"APPLICATION_TOPIC": APPLICATION}
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda each: each.name)
def test_the_kept_schema_is_what_the_event_classes_say(
    application: type[Application[UUID]],
) -> None:
    path = kept_path(application).relative_to(ROOT)
    try:
        schema("--application", get_topic(application), "--check", path)
    except (LanguageBrokenError, SchemaOutdatedError) as error:
        pytest.fail(
            f"{error}\n\nIf nobody would break: eventsourcing-kafka producer schema "
            f"--application {get_topic(application)} --output {path}"
        )


def applications_in(path: Path) -> Iterator[type[Application[UUID]]]:
    """Yield the write models that a module defines."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = import_module(package.replace("producer.", "eventsourcing_kafka.producer."))
    for each in vars(module).values():
        if not isinstance(each, type) or each.__module__ != module.__name__:
            continue
        if issubclass(each, Application) and not issubclass(each, ProcessApplication):
            yield each


def test_every_write_model_has_a_kept_schema() -> None:
    folders = ("producer", "examples", "tests/systems")
    modules = [path for folder in folders for path in ROOT.glob(f"{folder}/*/application.py")]

    assert {each for path in modules for each in applications_in(path)} == set(APPLICATIONS)


def test_kept_schemas_are_part_of_the_tree() -> None:
    command = ["git", "check-ignore", *(str(kept_path(each)) for each in APPLICATIONS)]
    ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ignored.stdout == ""


def test_the_document_of_the_wiki_is_printed() -> None:
    assert schema() == WIKI.read_text()


def test_a_system_has_a_channel_for_each_leader() -> None:
    document = json.loads(schema("--system", "examples.counters.system:system"))

    assert list(document["channels"]) == ["DogSchool"]


def test_the_topic_prefix_is_in_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_TOPIC_PREFIX", "shared.")

    document = json.loads(schema())

    assert document["channels"]["ContentManagement"]["address"] == "shared.contentmanagement.events"
    schema("--check", WIKI)  # Where the topic is breaks no reader of its events.


def test_an_application_that_encrypts_is_described_as_ciphertext(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONTENTMANAGEMENT_CIPHER_TOPIC", "eventsourcing.cipher:AESCipher")

    messages = json.loads(schema())["components"]["messages"].values()

    assert {each["contentType"] for each in messages} == {"application/octet-stream"}


def with_other_title(path: Path, **changes: object) -> Path:
    document = json.loads(WIKI.read_text())
    document["components"]["schemas"]["ContentManagement.Page.TitleUpdated"].update(changes)
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("option", ["--check", "--output"])
def test_a_change_that_breaks_readers_is_refused_and_nothing_written(
    option: str, tmp_path: Path
) -> None:
    kept = with_other_title(tmp_path / "kept.json", properties={})
    before = kept.read_text()

    with pytest.raises(LanguageBrokenError, match=r"Page\.TitleUpdated: .*'title' is new"):
        schema(option, kept)

    assert kept.read_text() == before


def test_a_change_that_breaks_nobody_asks_for_a_new_document(tmp_path: Path) -> None:
    kept = with_other_title(tmp_path / "kept.json", description="In other words.")

    with pytest.raises(SchemaOutdatedError, match="--output"):
        schema("--check", kept)
    schema("--output", kept)

    schema("--check", kept)
    assert kept.read_text() == WIKI.read_text()


@pytest.mark.parametrize("text", ["# My thesis", '{"dependencies": {}}', "[]", ""])
def test_a_file_that_is_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text(text)

    with pytest.raises(SettingsError, match="no document that this command wrote"):
        schema("--output", path)

    assert path.read_text() == text


def test_to_write_and_to_compare_are_two_things(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="give one of them"):
        schema("--check", WIKI, "--output", tmp_path / "new.json")


@pytest.mark.parametrize("option", ["--system", "--application"])
@pytest.mark.parametrize("topic", ["os:system", "examples.game.domainmodel:Player"])
def test_what_is_neither_a_system_nor_an_application_is_named(option: str, topic: str) -> None:
    with pytest.raises(SettingsError, match=rf"{topic} is no (system|application) of the library"):
        schema(option, topic)


def test_the_kept_schemas_are_compatible_with_themselves() -> None:
    for application in APPLICATIONS:
        document = json.loads(kept_path(application).read_text())
        assert breaks(document, document) == []
