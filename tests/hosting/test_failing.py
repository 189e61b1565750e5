"""Events that can't be applied, and applications that break the rules."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.cipher import AESCipher
from psycopg import connect

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.consumer.hosting.local.store import LocalStore
from eventsourcing_kafka.producer.wire import WireError
from examples.dogschool.application import DogSchool
from tests.layers import SERVERS, on

from . import unnameable
from .awkward import (
    Hasty,
    Rival,
    Swallowing,
    Till,
    Zipped,
    hasty,
    rival,
    swallowing,
    till,
    zipped,
)
from .tallying import Left
from .test_topologies import teach


def parked(runner: KafkaRunner) -> Sequence[tuple[str | None, str]]:
    """Return type and reason of each parked event of the runner's only edge, in order."""
    store: Any = runner._parts._followings[0].consumer.store
    if isinstance(store, LocalStore):
        return [(event.type, event.reason) for event in store.parking._all()]
    with connect(**store._connect()) as connection:
        rows = connection.execute(store.sql("SELECT type, reason FROM {schema}.parked ORDER BY id"))
        return rows.fetchall()


@pytest.fixture(
    params=[
        on("Postgres", needs=SERVERS),
        on("SQLite", needs={"kafka"}),
        on("POPO", needs={"kafka"}),
    ]
)
def any_env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a system on each kind of persistence."""
    match request.param:
        case "Postgres":
            env: dict[str, str] = request.getfixturevalue("env")
            return env
        case "SQLite":
            stored = {
                f"{name}_SQLITE_DBNAME": str(tmp_path / name)
                for name in ("DOGSCHOOL", "FUSSY", "HASTY")
            }
            stored["PERSISTENCE_MODULE"] = "eventsourcing.sqlite"
        case _:
            stored = {}
    return {**request.getfixturevalue("kafka_env"), **stored}


@pytest.mark.parametrize("conflicts", [1, 4])
def test_what_conflicts_with_what_another_recorded_meanwhile_is_tried_again(
    conflicts: int, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rival, "conflicts", conflicts, raising=False)
    with KafkaRunner(rival, env) as runner:
        runner.get(DogSchool).register_dog("Billy")
        runner.get(DogSchool).add_trick("Billy", "roll over")
        runner.wait()

        assert Rival.conflicts == 0
        assert runner.get(Rival).count("roll over") == conflicts + 1
        assert parked(runner) == []


def test_an_event_after_which_the_transaction_can_not_go_on_is_parked(env: dict[str, str]) -> None:
    with KafkaRunner(swallowing, env) as runner:
        teach(runner.get(DogSchool), ["roll over"])
        runner.get(DogSchool).add_trick("Billy", "poison")
        runner.wait()

        assert runner.get(Swallowing).count("roll over") == 4
        ((_, reason),) = parked(runner)
        assert "current transaction is aborted" in reason


def test_a_policy_that_saves_is_told_to_collect(any_env: dict[str, str]) -> None:
    with KafkaRunner(hasty, any_env) as runner:
        school, hasty_one = runner.get(DogSchool), runner.get(Hasty)
        school.register_dog("Billy")
        school.add_trick("Billy", "roll over")
        runner.wait()

        assert hasty_one.count("roll over") == 0
        ((_, reason),) = parked(runner)
        assert "call collect_events() on the processing event instead" in reason

        hasty_one.save(hasty_one.incremented("roll over"))  # Commands may.
        assert hasty_one.count("roll over") == 1


def test_without_the_key_encrypted_events_are_parked_with_the_reason(env: dict[str, str]) -> None:
    locked = {"CIPHER_TOPIC": "eventsourcing.cipher:AESCipher"}
    locked["CIPHER_KEY"] = AESCipher.create_key(32)
    with (
        KafkaRunner(zipped, {**env, **locked}, only=["Zipped"]) as there,
        KafkaRunner(zipped, env, only=["Left"]) as here,
    ):
        there.get(Zipped).register_dog("Billy")
        there.get(Zipped).add_trick("Billy", "roll over")
        there.wait()
        here.wait()

        assert here.get(Left).count("roll over") == 0
        (first, _) = parked(here)
        assert first[0] == "Dog.Registered"
        assert "set CIPHER_TOPIC and CIPHER_KEY as the application has them" in first[1]


def test_with_the_key_encrypted_events_are_followed_as_the_leader_stores_them(
    env: dict[str, str],
) -> None:
    """The leader's class says that it compresses; the follower's says nothing of that."""
    locked = {"CIPHER_TOPIC": "eventsourcing.cipher:AESCipher"}
    locked["CIPHER_KEY"] = AESCipher.create_key(32)
    with KafkaRunner(zipped, {**env, **locked}) as runner:
        runner.get(Zipped).register_dog("Billy")
        runner.get(Zipped).add_trick("Billy", "roll over")
        runner.wait()

        assert parked(runner) == []
        assert runner.get(Left).count("roll over") == 1


def test_two_events_of_one_name_are_refused_before_anything_runs(env: dict[str, str]) -> None:
    with (
        pytest.raises(WireError, match="give one of them another name"),
        KafkaRunner(unnameable.system, env),
    ):
        pass


@pytest.mark.parametrize("waiting", [KafkaRunner.wait, KafkaRunner.run_forever])
def test_what_can_not_be_published_surfaces_where_one_waits(
    env: dict[str, str], waiting: Callable[[KafkaRunner], None]
) -> None:
    with KafkaRunner(till, env) as runner:
        runner.get(Till).put_in()
        with pytest.raises(WireError, match=r"Dog\.Registered .* can't be published"):
            waiting(runner)
