"""A pipeline in a file: all that is wrong with it is said, and every command is about all of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from eventsourcing_kafka.__main__ import app
from eventsourcing_kafka.compose.leaders import leaders_of
from eventsourcing_kafka.compose.stack.parts import loops_of, named, parts
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.followers import followers_of
from eventsourcing_kafka.producer.runtime.pipeline import (
    OnErrorWord,
    PipelineError,
    found_pipeline,
    read_pipeline,
)
from tests.pages import blocks
from tests.pipeline import ROOT

pytestmark = pytest.mark.usefixtures("outside")

Said = Callable[[str], list[str]]


def invoke(*command: str, **variables: str) -> Any:
    return CliRunner(env={"COLUMNS": "300", **variables}).invoke(app, [*command])


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """Returns what `compose check` says of a file: each line, without the name of the file."""

    def check(text: str) -> list[str]:
        file = tmp_path / "pipeline.toml"
        file.write_text(text)
        result = invoke("compose", "check", "--with", str(file), "--json")
        problems = json.loads(result.stdout)["problems"]
        assert result.exit_code == (1 if problems else 0)
        return [problem.removeprefix(f"{file}") for problem in problems]

    return check


def test_a_pipeline_is_what_its_file_says(outside: Path) -> None:
    pipeline = found_pipeline(outside / "shop" / "pipeline.toml")

    assert pipeline
    assert loops_of(pipeline) == {
        "relay Shop": ("producer", "relay", "-a", "shop.application:Shop"),
        "relay Packing": ("producer", "relay", "-a", "shop.packing:Packing"),
        "consumer orders": ("consumer", "run", "shop.views:ORDERS"),
        "consumer sales": ("consumer", "run", "shop.views:SALES", "--on-error", "stop"),
        "follower Packing": ("compose", "run", "shop.packing:packing"),
        "follower Shipping": ("compose", "run", "shop.packing:shipping"),
    }
    assert parts(pipeline)[-1] == "window"
    assert named(pipeline) == ["Shop", "Packing", "orders", "sales", "Shipping"]


def test_what_becomes_of_an_error_is_said_in_the_words_of_the_commands() -> None:
    assert list(get_args(OnErrorWord)) == list(OnError)


def test_the_page_that_tells_of_it_shows_one(tmp_path: Path) -> None:
    (shown,) = blocks(ROOT / "docs" / "PIPELINE.md")
    (tmp_path / "pipeline.toml").write_text(shown.text)

    pipeline = read_pipeline(tmp_path / "pipeline.toml")

    assert pipeline.applications["Warehouse"].at == ""
    assert pipeline.environment({})["SALES_POSTGRES_DBNAME"] == "reports"


def test_its_settings_are_prefixed_and_what_is_set_elsewhere_goes_before_them(
    outside: Path,
) -> None:
    pipeline = read_pipeline(outside / "shop" / "pipeline.toml")

    environment = pipeline.environment({"KAFKA_TOPIC_PARTITIONS": "7"})

    assert environment["SHIPPING_POSTGRES_DBNAME"] == "trucks"
    assert environment["KAFKA_TOPIC_PARTITIONS"] == "7"
    assert environment["PIPELINE_FILE"] == str(outside / "shop" / "pipeline.toml")


@pytest.mark.parametrize(
    ("told", "elsewhere"),
    [
        ("POSTGRES_PASSWORD_FILE", "POSTGRES_PASSWORD"),
        ("KAFKA_SASL_PASSWORD", "KAFKA_SASL_PASSWORD_FILE"),
    ],
)
def test_a_secret_that_is_set_elsewhere_is_not_set_in_both_ways(
    tmp_path: Path, told: str, elsewhere: str
) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text(f'[settings]\n{told} = "of the file"\n[applications]\nShop = {{}}\n')
    pipeline = read_pipeline(file)

    assert pipeline.environment({})[told] == "of the file"
    assert told not in pipeline.environment({elsewhere: "set"})


def test_where_nothing_is_wrong_it_is_said_what_would_run(outside: Path) -> None:
    result = invoke("compose", "check", "--with", str(outside / "shop" / "pipeline.toml"))

    assert result.exit_code == 0, result.output
    assert "relay Shop, relay Packing, consumer orders, consumer sales" in result.stdout


def test_it_is_found_in_the_current_folder(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(outside / "shop")

    assert invoke("compose", "check").exit_code == 0
    assert "say which: orders, sales, packing_shop" in invoke(
        *("consumer", "parked", "list"),
        PERSISTENCE_MODULE="eventsourcing.popo",
    ).output.replace("\n", " ")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [":1: there is nothing in it: name an application, as [applications] does"]),
        ("[applications\n", [":1: Expected ']' at the end of a table declaration"]),
        (
            '[aplications]\nShop = "shop.application:Shop"\n[views]\n"x" = "shop.views:SALES"',
            [":1: there is no 'aplications': did you mean 'applications'?"],
        ),
        (
            '[views.orders]\nviwe = "shop.views:ORDERS"\non_error = "stp"\n\n[followers.A]\n',
            [
                ":2: there is no 'viwe' in views.orders: did you mean 'view'?",
                ":3: views.orders.on_error: there is no 'stp': did you mean 'stop'?",
                ":5: followers.A: Object missing required field `projection`",
            ],
        ),
        (
            """[applications.Shop]
settings.postgres_dbname = 'x'
[applications.Till]
settings = { CREATE_TABLE = true }""",
            [
                ":2: postgres_dbname is no name of a variable, as POSTGRES_DBNAME is",
                ":4: CREATE_TABLE has to be a text or a whole number",
            ],
        ),
    ],
    ids=["empty", "syntax", "section", "keys", "settings"],
)
def test_what_is_wrong_with_the_file_is_said_with_its_line(
    said: Said, text: str, problems: list[str]
) -> None:
    found = said(text)

    assert len(found) >= len(problems)
    assert all(any(line.startswith(each) for line in found) for each in problems), found


def test_all_that_is_wrong_with_what_it_names_is_said_at_once(said: Said) -> None:
    found = said("""
[settings]
KAFKA_TOPIC_PREFX = "x"
SHOP_POSTGRES_DBNAME = "x"
[applications]
Shop = "shop.application:Shopp"
Till = "shop.application:Shop"
Till2 = {}
[views]
orders = "shop.views:ORDERS"
sale = "shop.views:SALES"
nothing = {}
Till2 = "shop.views:RIVAL"
[views.sales]
view = "shop.views:SALES"
settings.POSTGRES_DBNMAE = "x"
[followers]
Packing = "shop.packing:shipping"
Other = "shop.views:ORDERS"
[systems]
far = "shop.nowhere:system"
""")

    lines = [int(each.split(":")[1]) for each in found]
    assert lines == sorted(lines)
    for line, words in {
        3: "there is no setting KAFKA_TOPIC_PREFX: did you mean KAFKA_TOPIC_PREFIX?",
        6: "has no attribute 'Shopp'",
        7: "shop.application:Shop is called Shop, and not Till",
        11: "shop.views:SALES is called 'sales': call it that here, too",
        12: "There is no view 'nothing'",
        13: "Till2 is in the pipeline twice, and both would have the settings TILL2_…",
        16: "there is no setting POSTGRES_DBNMAE: did you mean POSTGRES_DBNAME?",
        18: "shop.packing:shipping is called 'Shipping'",
        19: "shop.views:ORDERS is no Projected, as followers in a pipeline are: what one is, is in "
        "docs/FOLLOWERS.md",
        21: "No module named 'shop.nowhere'",
    }.items():
        assert any(each.startswith(f":{line}: ") and words in each for each in found), words
    assert not any("follows Shop" in each for each in found)


def test_a_follower_whose_application_is_not_there_is_named(said: Said) -> None:
    assert said("""
[applications]
Packing = "shop.packing:Packing"
[views]
orders = "shop.views:ORDERS"
[followers]
Packing = "shop.packing:packing"
""") == [
        f":{line}: {name} follows Shop, which the pipeline does not have: add it to [applications]"
        for line, name in ((5, "orders"), (7, "Packing"))
    ]


def test_one_mistake_does_not_hide_another(said: Said) -> None:
    found = said("""
[settings]
KAFKA_BOOTSTRAP_SERVERS = "kafka:9092"
KAFKA_TOPIC_PARTITIONS = "many"
PERSISTENCE_MODULE = "eventsourcing.postgrez"
shop_dbname = "x"
SHOP_POSTGRES_PORT = "many"
SHOP_CREATE_TABLE = "perhaps"
SHOP_TRANSCODER_TOPIC = "shop.application:Nothing"
[applications]
Shop = "shop.application:Shop"
Packing = "shop.packing:Nothing"
[views.orders]
view = "shop.views:ORDERS"
on_error = "stp"
[views.sales]
view = "shop.views:SALES"
settings.SALES_POSTGRES_DBNAME = "x"
settings.SHOP_POSTGRES_DBNAME = "x"
settings.KAFKA_TOPIC_PREFIX = "x"
[systems]
far = "shop.nowhere:system"
""")

    for line, words in {
        4: "KAFKA_TOPIC_PARTITIONS is 'many': Expected `int",
        5: "there is no eventsourcing.postgrez: did you mean eventsourcing.postgres?",
        6: "shop_dbname is no name of a variable",
        7: "SHOP_POSTGRES_PORT is 'many': Expected `int",
        8: "SHOP_CREATE_TABLE is 'perhaps': say yes or no",
        9: "SHOP_TRANSCODER_TOPIC can't be imported: shop.application:Nothing",
        12: "has no attribute 'Nothing'",
        15: "there is no 'stp': did you mean 'stop'?",
        18: "would be read as SALES_SALES_POSTGRES_DBNAME: say POSTGRES_DBNAME here",
        19: "would be read as SALES_SHOP_POSTGRES_DBNAME: put it into [settings]",
        20: "KAFKA_TOPIC_PREFIX is the same for all: put it into [settings]",
        22: "No module named 'shop.nowhere'",
    }.items():
        assert [each for each in found if each.startswith(f":{line}: ") and words in each], words
    assert ": SALES_POSTGRES_HOST is not set, there or in the environment" in found
    assert len(found) == 12 + sum("is not set" in each for each in found)


def test_what_follows_from_a_mistake_is_not_said_as_another(said: Said) -> None:
    views = '[views]\norders = "shop.views:ORDERS"\n'

    [found] = said(f'[aplications]\nShop = "shop.application:Shop"\n{views}')
    assert found.startswith(":1: there is no 'aplications'")

    [found] = said(f'[applications.Shop]\nclas = "shop.application:Shop"\n{views}')
    assert found.startswith(":2: there is no 'clas'")


def test_settings_are_looked_for_once_a_server_is_named(said: Said) -> None:
    text = '[applications]\nShop = "shop.application:Shop"\n[views]\norders = "shop.views:ORDERS"\n'

    assert said(text) == []
    missing = said(f'{text}[settings]\nKAFKA_BOOTSTRAP_SERVERS = "kafka:9092"\n')

    assert ": SHOP_PERSISTENCE_MODULE is not set, there or in the environment" in missing
    assert ": ORDERS_POSTGRES_HOST is not set, there or in the environment" in missing


def test_nothing_starts_on_a_pipeline_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text('[views]\na = "shop.views:ORDERS"\nb = "shop.views:ORDERS"\n')

    result = invoke("compose", "up", "--with", str(file))

    assert isinstance(result.exception, PipelineError)
    assert f"(3 more: eventsourcing-kafka compose check --with {file})" in str(result.exception)


def test_nothing_starts_with_a_value_that_can_not_be(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text('[settings]\nKAFKA_TOPIC_PARTITIONS = "many"\n[applications]\nShop = {}\n')

    result = invoke("compose", "up", "--with", str(file))

    assert isinstance(result.exception, PipelineError)
    assert ":2: KAFKA_TOPIC_PARTITIONS is 'many'" in str(result.exception)


def test_a_file_that_is_not_there_is_said() -> None:
    result = invoke("compose", "top", "--with", "nowhere.toml")

    assert (
        str(result.exception)
        == f"{Path.cwd()}/nowhere.toml: can't be read: No such file or directory"
    )


def test_what_a_system_leads_has_no_relay_of_its_own(said: Said, tmp_path: Path) -> None:
    text = """
[applications]
DogSchool = "examples.dogschool.application:DogSchool"
[systems]
counting = "examples.counters.system:system"
"""

    assert said(text) == []
    pipeline = read_pipeline(tmp_path / "pipeline.toml")
    assert loops_of(pipeline) == {
        "system counting": ("compose", "run", "examples.counters.system:system")
    }
    assert named(pipeline) == ["DogSchool", "Counters"]
    edges = followers_of(pipeline=pipeline).edges
    assert list(edges) == ["counters_dogschool"]
    assert [leader.name for leader in leaders_of(followers_of(pipeline=pipeline), pipeline)] == [
        "DogSchool"
    ]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("producer", "relay"), "Which application? Name one, -a Shop or -a Packing"),
        (("producer", "status", "-a", "Shopp"), "no application 'Shopp': did you mean 'Shop'?"),
        (("compose", "run", "Shiping"), "no follower or system 'Shiping': did you mean 'Shipping'"),
    ],
    ids=["relay", "status", "run"],
)
def test_what_it_does_not_have_is_refused_with_what_it_has(
    outside: Path, command: tuple[str, ...], problem: str
) -> None:
    result = invoke(*command, "--with", str(outside / "shop" / "pipeline.toml"))

    assert result.exit_code == 2
    assert problem in " ".join(result.output.replace("│", " ").split())


def test_one_of_its_applications_is_named_as_it_is_called_there(outside: Path) -> None:
    file = outside / "shop" / "pipeline.toml"

    result = invoke("producer", "schema", "-a", "Packing", "--with", str(file))

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["info"]["title"] == "The events of Packing"


def test_its_only_application_need_not_be_named(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text("[applications]\nWarehouse = {}\n")

    result = invoke("producer", "schema", "--with", str(file))

    assert "No more is known of Warehouse than its name" in str(result.exception)


class RelayedError(Exception):
    """Ends a relay once it is known how it would publish."""


def test_a_relay_takes_its_settings_and_whether_it_decrypts_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text(f"""
[settings]
KAFKA_BOOTSTRAP_SERVERS = "nowhere:9092"
[applications.Shop]
class = "shop.application:Shop"
decrypt = true
settings = {{ PERSISTENCE_MODULE = "eventsourcing.sqlite", SQLITE_DBNAME = "{tmp_path}/shop" }}
""")

    def told(source: Any, *, decrypt: bool) -> None:
        raise RelayedError(source.name, decrypt)

    monkeypatch.setattr("eventsourcing_kafka.producer.command_line.wire_of", told)

    result = invoke("producer", "relay", "--with", str(file))

    assert isinstance(result.exception, RelayedError)
    assert result.exception.args == ("Shop", True)


def test_what_becomes_of_an_error_is_what_the_file_says_unless_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text("""
[settings]
KAFKA_BOOTSTRAP_SERVERS = "nowhere:9092"
PERSISTENCE_MODULE = "eventsourcing.postgres"
POSTGRES_HOST = "nowhere"
POSTGRES_DBNAME = "shop"
POSTGRES_USER = "shop"
POSTGRES_PASSWORD = "shop"
[views]
orders = "shop.views:ORDERS"
sales = { view = "shop.views:SALES", on_error = "stop" }
""")
    ways: list[OnError] = []

    def consumer(*_: object, on_error: OnError, **__: object) -> None:
        ways.append(on_error)

    monkeypatch.setattr("eventsourcing_kafka.consumer.operations.commands.run.Consumer", consumer)
    monkeypatch.setattr(
        "eventsourcing_kafka.consumer.operations.commands.run.run_async", lambda _: None
    )

    invoke("consumer", "run", "orders", "sales", "--with", str(file))
    invoke("consumer", "run", "sales", "--on-error", "raise", "--with", str(file))

    assert ways == [OnError.PARK, OnError.STOP, OnError.RAISE]
