"""A view is found where it is, or by its name if it is installed; and nothing else is imported."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.utils import TopicError
from typer.testing import CliRunner

from eventsourcing_kafka.compose.leaders import UnknownApplicationError, leaders_of
from eventsourcing_kafka.consumer.command_line import app
from eventsourcing_kafka.consumer.followers import Followers
from eventsourcing_kafka.consumer.hosting.systems import projected_named, system_named
from eventsourcing_kafka.consumer.operations.commands.stores import complete_view
from eventsourcing_kafka.consumer.views.registry import (
    NoViewError,
    UnknownViewError,
    view_named,
    view_names,
    views_named,
)
from eventsourcing_kafka.producer.runtime.applications import (
    application_named,
    complete_application,
)
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.plugins import BroughtTwiceError, brought_commands

from .conftest import Installs

ORDERS, SALES = "shop.views:ORDERS", "shop.views:SALES"

pytestmark = pytest.mark.usefixtures("outside")


def test_a_view_is_found_where_it_is() -> None:
    view = view_named(ORDERS)

    assert (view.name, view.arguments) == ("orders", ORDERS)
    assert [leader.__name__ for leader in leaders_of(Followers([view, view_named(SALES)], {}))] == [
        "Shop"
    ]


def test_it_is_found_by_its_name_once_it_is_installed(install: Installs) -> None:
    install("views", orders=ORDERS)

    assert view_names() == ["activity", "fts", "orders"]
    assert view_named("orders").arguments == "orders"
    assert {view.name for view in views_named()} == {"activity", "fts", "orders"}


def test_the_shell_completes_its_name_then_and_imports_nothing(install: Installs) -> None:
    install("views", orders="nowhere.at.all:ORDERS")

    assert complete_view("or") == ["orders"]
    assert complete_view("") == ["activity", "fts", "orders"]


def test_the_shell_completes_what_the_pipeline_here_has_and_imports_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text(
        '[applications]\nShop = "nowhere:Shop"\n[views]\norders = "nowhere:ORDERS"\nwrong = 1\n'
    )

    assert complete_view("o") == ["orders"]
    assert complete_application("") == ["Shop"]

    (tmp_path / "pipeline.toml").write_text("[views\n")
    assert complete_application("") == []


def test_the_views_of_the_wiki_are_found_in_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventsourcing_kafka.consumer.views.registry.brought", lambda _group: {})

    with pytest.raises(UnknownViewError, match=r"There is no view 'fts'\. There are: none"):
        view_named("fts")


def test_one_that_is_named_twice_is_one() -> None:
    assert [view.name for view in views_named([ORDERS, SALES, ORDERS])] == ["orders", "sales"]


def test_the_same_one_by_both_its_names_is_one(install: Installs) -> None:
    install("views", orders=ORDERS)

    assert [view.name for view in views_named(["orders", ORDERS])] == ["orders"]


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(NoViewError, match="would share a schema and a group: rename one"):
        views_named([ORDERS, "shop.views:RIVAL"])


@pytest.mark.parametrize(
    ("topic", "error", "said"),
    [
        ("shop.views:TYPES", NoViewError, "shop.views:TYPES is no View, but a EventTypes"),
        ("shop.views:NOTHING", TopicError, "NOTHING"),
        ("shop.nowhere:VIEW", TopicError, "No module named 'shop.nowhere'"),
        ("orders", UnknownViewError, "is named by where it is: module:VIEW"),
    ],
)
def test_what_is_no_view_is_refused(topic: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        view_named(topic)


def test_an_installed_one_that_is_called_otherwise_is_refused(install: Installs) -> None:
    install("views", other=ORDERS)

    with pytest.raises(NoViewError, match="has to be the View of the name 'other'"):
        view_named("other")


def test_one_that_can_not_be_imported_spoils_no_other(install: Installs) -> None:
    install("views", orders="nowhere.at.all:ORDERS")

    assert view_named("fts").name == "fts"
    with pytest.raises(NoViewError, match=r"of shop 1.0 can't be imported: ModuleNotFound"):
        view_named("orders")


def test_two_distributions_may_not_bring_one_name(install: Installs) -> None:
    install("views", orders=ORDERS)
    install("views", "rival", orders="shop.views:RIVAL")

    with pytest.raises(BroughtTwiceError, match=r"by shop 1.0.*uninstall one of them"):
        view_named("orders")


def test_commands_that_can_not_be_imported_are_said_and_spoil_no_others(
    install: Installs, capsys: pytest.CaptureFixture[str]
) -> None:
    install("commands.consumer", orders="nowhere.at.all:COMMANDS")

    assert len(list(brought_commands("consumer"))) == 2
    assert "no commands 'orders' of shop 1.0" in capsys.readouterr().err


def test_a_view_that_does_not_say_where_its_application_is_is_told_how(outside: Path) -> None:
    with pytest.raises(UnknownApplicationError, match=r"application_topic=\"module:Class\""):
        leaders_of(Followers([view_named("shop.views:RIVAL")], {}))


@pytest.mark.parametrize("topic", ["shop", "shop.application", "shop.views:ORDERS"])
def test_what_is_no_application_is_refused(topic: str) -> None:
    with pytest.raises(SettingsError, match=f"{topic} is no application of the library"):
        application_named(topic)


@pytest.mark.parametrize("find", [application_named, view_named, system_named, projected_named])
@pytest.mark.parametrize("topic", [":Shop", ":", ".shop:Shop", "shop:", "sh op:Shop", "shop:1"])
def test_what_can_be_nowhere_is_refused_in_a_line(find: Callable[[str], Any], topic: str) -> None:
    with pytest.raises(SettingsError, match="nothing that can be imported: name it as module:Name"):
        find(topic)


def test_what_is_written_wrongly_is_refused_with_its_line(outside: Path) -> None:
    (outside / "hasty.py").write_text("class Shop(\n")
    with pytest.raises(SettingsError, match=r"hasty can't be imported: .*\(hasty.py, line 1\)"):
        application_named("hasty:Shop")


KEEP = """
import sys
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.views.registry import view_named
ViewStore.of(view_named("shop.views:SALES"), {"POSTGRES_DBNAME": "shop", "POSTGRES_HOST": "host",
    "POSTGRES_USER": "somebody", "POSTGRES_PASSWORD": "something"})
print(*sorted(name for name in sys.modules if name.startswith("shop") or "views.fts" in name))
"""


@pytest.mark.usefixtures("programs")
def test_who_keeps_a_view_imports_neither_its_application_nor_other_views(outside: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEEP], cwd=outside, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["shop", "shop.domainmodel", "shop.views"]


def test_a_command_about_one_view_has_several_to_choose_from() -> None:
    result = CliRunner().invoke(app, ["parked", "list"])

    assert result.exit_code == 2
    assert "say which: activity, fts" in result.output
