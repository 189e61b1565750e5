"""Settings of locks, with no server behind them."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from eventsourcing_kafka.compose.security.grants import acls, as_commands, as_script, grants
from eventsourcing_kafka.compose.servers.kafka import tool_command
from eventsourcing_kafka.compose.servers.kafka_client import client_properties
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views import fts
from eventsourcing_kafka.consumer.views.registry import views_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime import misspelt
from eventsourcing_kafka.producer.runtime.applications import open_application
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.secrets import Secret, with_password_files

from .locked import Certificates

SCRAM = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "ada",
    "KAFKA_SASL_PASSWORD": "s3cret",
}

POSTGRES = {
    "PERSISTENCE_MODULE": "eventsourcing.postgres",
    "POSTGRES_DBNAME": "db",
    "POSTGRES_HOST": "localhost",
    "POSTGRES_USER": "ada",
}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in SCRAM.items() if name not in names}


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (without("KAFKA_SASL_MECHANISM"), "set KAFKA_SASL_MECHANISM to one of PLAIN, SCRAM"),
        (without("KAFKA_SASL_USERNAME"), "needs KAFKA_SASL_USERNAME"),
        (without("KAFKA_SASL_PASSWORD"), "needs KAFKA_SASL_PASSWORD"),
        (without("KAFKA_SECURITY_PROTOCOL"), "set it to SASL_SSL"),
        ({"KAFKA_SSL_CAFILE": "ca.pem"}, "set it to SSL or SASL_SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL"),
        ({**SCRAM, "KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
        ({**SCRAM, "KAFKA_SASL_MECHANISM": "OAUTHBEARER"}, "TOKEN_ENDPOINT_URL and KAFKA_SASL_OA"),
        ({**SCRAM, "KAFKA_SSL_KEYFILE": "key.pem"}, "set KAFKA_SSL_CERTFILE as well"),
        ({**SCRAM, "KAFKA_SASL_PASSWORD_FILE": "/there"}, "both set: unset one"),
    ],
)
def test_settings_that_do_not_go_together_say_what_to_do(
    settings: dict[str, str], advice: str
) -> None:
    with pytest.raises(SettingsError, match=advice) as refused:
        KafkaSettings.from_env(settings)
    assert "s3cret" not in str(refused.value)


def test_a_secret_is_shown_nowhere_but_to_the_client() -> None:
    settings = KafkaSettings.from_env(SCRAM)

    assert "s3cret" not in f"{settings!r} {settings}"
    assert settings.client()["sasl_plain_password"] == "s3cret"
    assert settings.client()["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "not text")],
)
def test_a_file_without_a_secret_says_so(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    file = {"KAFKA_SASL_PASSWORD_FILE": str(path), "POSTGRES_PASSWORD_FILE": str(path)}

    with pytest.raises(SettingsError, match=rf"KAFKA_SASL_PASSWORD_FILE.*{why}"):
        KafkaSettings.from_env({**without("KAFKA_SASL_PASSWORD"), **file}).client()
    with pytest.raises(SettingsError, match=rf"POSTGRES_PASSWORD_FILE.*{why}"):
        ViewStore.of(fts.VIEW, {**POSTGRES, **file})
    with pytest.raises(SettingsError, match=rf"POSTGRES_PASSWORD_FILE.*{why}"):
        open_application(ContentManagement, {**POSTGRES, **file})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        Secret("PASSWORD", path=str(tmp_path))()


def passwords(settings: dict[str, str]) -> dict[str, Any]:
    """Return the password that each view connects with."""
    stores = {view.name: ViewStore.of(view, {**POSTGRES, **settings}) for view in views_named()}
    return {name: store._connect()["password"] for name, store in stores.items()}


def test_a_password_is_read_anew_for_each_connection(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("old\n")
    store = ViewStore.of(fts.VIEW, {**POSTGRES, "POSTGRES_PASSWORD_FILE": str(path)})
    before = store._connect()["password"]
    path.write_text("new\n")

    assert (before, store._connect()["password"]) == ("old", "new")


def test_what_is_set_for_one_view_goes_before_what_is_set_for_all(tmp_path: Path) -> None:
    (all_of_them := tmp_path / "all").write_text("in the file of all")
    (one := tmp_path / "one").write_text("in a file")
    by_file = {"POSTGRES_PASSWORD_FILE": str(all_of_them)}

    assert passwords({**by_file, "FTS_POSTGRES_PASSWORD": "own"}) == {
        "fts": "own",
        "activity": "in the file of all",
    }
    assert passwords({"POSTGRES_PASSWORD": "of all", "FTS_POSTGRES_PASSWORD_FILE": str(one)}) == {
        "fts": "in a file",
        "activity": "of all",
    }
    with pytest.raises(SettingsError, match="POSTGRES_PASSWORD_FILE are both set"):
        with_password_files({**by_file, "POSTGRES_PASSWORD": "too"})


def test_tokens_without_the_library_for_them_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "eventsourcing_kafka.producer.kafka.oauth", None)
    settings = {
        **SCRAM,
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "https://example.org/token",
        "KAFKA_SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID": "ada",
        "KAFKA_SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET": "s3cret",
    }

    with pytest.raises(SettingsError, match=r"pip install 'eventsourcing-kafka\[oauth\]'"):
        KafkaSettings.from_env(settings).client()


def test_a_certificate_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    settings = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": str(tmp_path / "nowhere")}
    with pytest.raises(SettingsError, match=r"KAFKA_SSL_CAFILE .*nowhere.*No such file"):
        KafkaSettings.from_env(settings).client()

    chain, _ = Certificates(tmp_path).of("ada", "ada.example.org")
    _, other = Certificates(tmp_path).of("bob", "bob.example.org")
    pair = {"KAFKA_SSL_CERTFILE": str(chain), "KAFKA_SSL_KEYFILE": str(other)}
    with pytest.raises(SettingsError, match=r"KAFKA_SSL_CERTFILE or KAFKA_SSL_KEYFILE .*MISMATCH"):
        KafkaSettings.from_env({"KAFKA_SECURITY_PROTOCOL": "SSL", **pair}).client()


def test_a_tool_that_is_given_its_own_key_gets_no_other() -> None:
    settings = KafkaSettings.from_env(SCRAM)

    def configs(*arguments: str) -> list[str]:
        command = tool_command("topics", arguments, lambda: "h:1", settings)
        return [argument for argument in command if "config" in argument and "-D" not in argument]

    assert configs("--list") == ["--command-config"]
    assert configs("--list", "--command-config", "own.config") == [
        "--command-config",
        "own.config",
    ]
    assert configs("--create", "--config=a=b") == ["--command-config", "--config=a=b"]


def test_a_setting_that_nobody_reads_is_named_with_what_may_be_meant(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misspelt, "_told", set())
    env = {
        "KAFKA_TOPIC_PARTITION": "12",
        "KAFKA_RETENTION": "7",
        "KAFKA_HEAP_OPTS": "-Xmx1g",
        "KAFKA_PORT_9092_TCP_PORT": "9092",
        "KAFKA_SASL_PASSWORD_FILE": "",
        "FTS_LANGUGE": "german",
        "FTS_POSTGRES_DBNAM": "views",
        "POSTGRES_PASWORD": "secret",
        "FTS_COLOUR": "red",
        **dict.fromkeys(("POSTGRES_HOST", "POSTGRES_DBNAME", "POSTGRES_USER"), "nowhere"),
        "POSTGRES_PASSWORD": "",
    }
    for _ in range(2):
        KafkaSettings.from_env(env)
        ViewStore.of(fts.VIEW, env)

    assert [record.getMessage() for record in caplog.records] == [
        "The setting KAFKA_TOPIC_PARTITION is unknown, and ignored: is it KAFKA_TOPIC_PARTITIONS?",
        "The setting KAFKA_RETENTION is unknown, and ignored.",
        "The setting FTS_LANGUGE is unknown, and ignored: is it FTS_LANGUAGE?",
        "The setting FTS_POSTGRES_DBNAM is unknown, and ignored: is it FTS_POSTGRES_DBNAME?",
        "The setting POSTGRES_PASWORD is unknown, and ignored: is it POSTGRES_PASSWORD?",
    ]


def test_a_password_is_quoted_for_java() -> None:
    settings = KafkaSettings.from_env({**SCRAM, "KAFKA_SASL_PASSWORD": 'a"b\\c'})

    assert client_properties(settings)["sasl.jaas.config"].endswith(
        'username="ada" password="a\\"b\\\\c";'
    )


def test_the_grants_are_for_the_names_that_the_settings_give() -> None:
    env = {
        "KAFKA_TOPIC_PREFIX": "v2.",
        "KAFKA_GROUP_PREFIX": "blue.",
        "FTS_POSTGRES_DBNAME": "views",
        "FTS_POSTGRES_SCHEMA": "Search",
        "CONTENTMANAGEMENT_POSTGRES_DBNAME": "wiki",
    }
    commands = list(as_commands(acls(ContentManagement, [fts.VIEW], env, rebuild=True)))
    script = "\n".join(as_script(grants(ContentManagement, [fts.VIEW], env)))

    assert shlex.split(commands[-1])[-8:] == [
        *("--topic", "v2.contentmanagement.events"),
        *("--topic", "v2.contentmanagement.position"),
        *("--group", "blue.Search", "--group", "blue.Search_next"),
    ]
    assert "--transactional-id blue.contentmanagement.relay" in commands[1]
    assert script.index('\\connect "wiki"') < script.index('\\connect "views"')
    assert 'CREATE SCHEMA IF NOT EXISTS "Search" AUTHORIZATION "fts"' in script
    assert "GRANT CREATE" not in script
    assert 'CREATE TABLE IF NOT EXISTS "public"."contentmanagement_people"' in script
