"""What an operator sees of a system's followers, and mends, on the command line."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from psycopg import connect, sql
from typer.testing import CliRunner, Result

from eventsourcing_kafka.compose.audit import Report
from eventsourcing_kafka.compose.command_line import app as compose
from eventsourcing_kafka.compose.runner import KafkaProjectionRunner, KafkaRunner
from eventsourcing_kafka.consumer.command_line import app as consumer
from eventsourcing_kafka.consumer.engine.applying import OnError
from eventsourcing_kafka.consumer.engine.parking import BEHIND
from eventsourcing_kafka.consumer.engine.store import NotReplayableError
from eventsourcing_kafka.consumer.hosting.systems import (
    InMemoryError,
    UnknownEdgeError,
    chosen_edges,
    opened,
    system_named,
)
from eventsourcing_kafka.consumer.operations.redrive import retry
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.kafka.topics import Topics, partition_of
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from examples.tricks.sqlite import SQLiteTricksView
from tests.layers import SERVERS, on
from tests.pipeline import SECONDS, until
from tests.sqlalchemy import MODULE, url_of

from . import nursing
from .nursing import (
    MENDED,
    Clumsy,
    Longest,
    Patient,
    Squeamish,
    clinic,
    longest,
    too_long,
    ward,
)
from .tallying import Bottom
from .test_topologies import DOGS, counts, teach

CLINIC = ("--system", "tests.hosting.nursing:clinic")
WARD = ("--system", "tests.hosting.nursing:ward")
BILLY = str(Dog.create_id("Billy"))
TAUGHT = len(DOGS) * 3
REASON = ("--reason", "it is no trick", "--by", "Ada", "--yes")

Env = dict[str, str]


@pytest.fixture
def sqlite_env(kafka_env: Env, tmp_path: Path) -> Env:
    """The settings of a system that stores in SQLite."""
    names = ("DOGSCHOOL", "PATIENT", "SQUEAMISH", "CLUMSY", "BOTTOM")
    files = {f"{name}_SQLITE_DBNAME": str(tmp_path / name) for name in names}
    return {**kafka_env, **files, "PERSISTENCE_MODULE": "eventsourcing.sqlite"}


@pytest.fixture
def sqlalchemy_env(env: Env) -> Env:
    """The settings of a system that stores in Postgres through SQLAlchemy."""
    return {**env, "PERSISTENCE_MODULE": MODULE, "SQLALCHEMY_URL": url_of(env, "system")}


@pytest.fixture
def sqlalchemy_sqlite_env(kafka_env: Env, tmp_path: Path) -> Env:
    """The settings of a system that stores in a SQLite file through SQLAlchemy."""
    url = f"sqlite:///{tmp_path / 'system'}"
    return {**kafka_env, "PERSISTENCE_MODULE": MODULE, "SQLALCHEMY_URL": url}


@pytest.fixture(
    params=[
        *(on(f"{name}env", needs=SERVERS, name=f"{name}postgres") for name in ("", "sqlalchemy_")),
        *(on(f"{name}sqlite_env", needs={"kafka"}) for name in ("", "sqlalchemy_")),
    ]
)
def stored(request: pytest.FixtureRequest) -> Env:
    """The settings of a system on each kind of persistence that others can look into."""
    stored: Env = request.getfixturevalue(request.param)
    return stored


def invoke(app: Any, env: Env, *arguments: str) -> Result:
    return CliRunner(env={**env, "COLUMNS": "300"}).invoke(app, arguments)


def parked(env: Env, *arguments: str, system: Sequence[str] = CLINIC) -> Result:
    return invoke(consumer, env, "parked", *arguments, *system)


def lines(env: Env, system: Sequence[str] = CLINIC) -> list[dict[str, Any]]:
    result = parked(env, "list", "--json", system=system)
    assert result.exit_code == 0, result
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def fall_ill(runner: KafkaRunner, *tricks: str) -> None:
    """Teach Billy what can't be taken, and something else behind it."""
    school = runner.get(DogSchool)
    teach(school)
    for trick in tricks:
        school.add_trick("Billy", trick)
    runner.wait()


def test_parked_events_are_listed_shown_and_tried_again_and_live_ones_go_on(stored: Env) -> None:
    with KafkaRunner(clinic, stored) as runner:
        fall_ill(runner, "poison", "beg")
        patient, school = runner.get(Patient), runner.get(DogSchool)

        first, behind = lines(stored)
        assert (first["originator_id"], first["type"]) == (BILLY, "Dog.TrickAdded")
        assert first["reason"] == "CannotTakeError: poison"
        assert (behind["originator_id"], behind["reason"]) == (BILLY, BEHIND)
        assert first["version"] + 1 == behind["version"]
        shown = parked(stored, "show", str(first["id"])).stdout
        assert "Traceback" in shown
        assert "poison" in shown

        failed = parked(stored, "retry", "--all")
        assert failed.exit_code == 1
        assert f"Parked event {first['id']}" in failed.output
        assert lines(stored) == [first, behind]

        mended = parked(stored | MENDED, "retry", "--aggregate", BILLY)
        assert mended.stdout == f"{BILLY}: 2 applied\n"
        assert lines(stored) == []
        assert (patient.count("poison"), patient.count("beg")) == (1, 1)

        school.add_trick("Billy", "beg")
        school.add_trick("Milly", "beg")
        runner.wait()
        assert lines(stored) == []
        assert patient.count("beg") == 3
        assert counts(patient) == [4, 4, 4]
        assert parked(stored, "retry", "--all").stdout == "nothing of patient_dogschool is parked\n"

    with KafkaRunner(clinic, stored) as again:
        again.wait()
        assert (again.get(Patient).count("poison"), again.get(Patient).count("beg")) == (1, 3)


def test_a_drop_is_recorded_for_ever_and_those_behind_go_on(stored: Env) -> None:
    with KafkaRunner(clinic, stored) as runner:
        fall_ill(runner, "venom", "beg")
        first, behind = lines(stored)

        refused = parked(stored, "drop", str(behind["id"]), *REASON)
        assert refused.exit_code == 1
        assert "is behind event" in str(refused.exception)
        dropped = parked(stored, "drop", str(first["id"]), *REASON)
        assert dropped.exit_code == 0, dropped
        (row,) = json.loads(parked(stored, "dropped", "--json").stdout)
        assert (row["dropped_by"], row["reason"]) == ("Ada", "it is no trick")
        assert (row["originator_id"], row["failure"]) == (BILLY, "CannotTakeError: venom")
        assert row["first_offset"] == row["last_offset"] == first["offset"]
        assert row["dropped_at"]

        assert parked(stored, "retry", "--all").stdout == f"{BILLY}: 1 applied\n"
        runner.get(DogSchool).add_trick("Billy", "beg")
        runner.wait()
        assert (runner.get(Patient).count("venom"), runner.get(Patient).count("beg")) == (0, 2)


def test_what_was_dropped_is_not_parked_again_though_nobody_can_read_it(stored: Env) -> None:
    """A record that is foreign is read again by who begins before it."""
    settings = KafkaSettings.from_env(stored)
    topic = Topics.of(DogSchool.name, settings).events

    async def write() -> None:
        async with started(AIOKafkaProducer(**settings.client())) as producer:
            number = partition_of(BILLY.encode(), settings.topic_partitions)
            await producer.send_and_wait(topic, b"?", BILLY.encode(), partition=number)

    with KafkaRunner(clinic, stored) as runner:
        teach(runner.get(DogSchool))
        runner.wait()
        anyio.run(write)
        runner.wait()
        (poison,) = lines(stored)
        assert parked(stored, "drop", str(poison["id"]), *REASON).exit_code == 0

    with KafkaRunner(clinic, stored) as runner:
        runner.get(DogSchool).add_trick("Billy", "beg")
        runner.wait()
        assert lines(stored) == []
        assert runner.get(Patient).count("beg") == 1


def test_the_status_tells_how_far_each_follower_is(stored: Env) -> None:
    def status(*arguments: str) -> list[dict[str, Any]]:
        result = invoke(consumer, stored, "status", *arguments, "--json", *WARD)
        assert result.exit_code == 0, result
        rows: list[dict[str, Any]] = json.loads(result.stdout)
        return rows

    with KafkaRunner(ward, stored) as runner:
        fall_ill(runner, "poison", "beg")
        rows = status()
        assert {row["view"] for row in rows} == {"patient_dogschool", "bottom_patient"}
        assert [row["gap"] for row in rows] == [0] * len(rows)

        of_patient = status("patient_dogschool")
        head = runner.get(DogSchool).recorder.max_notification_id()
        assert max(row["position"] for row in of_patient) == head
        assert sum(row["records"] for row in of_patient) == len(DOGS) + TAUGHT + 2
        assert [row["parked"] for row in of_patient if row["parked"]] == [2]

    with DogSchool(stored) as school:
        school.add_trick("Milly", "beg")
    with KafkaRunner(ward, stored, only=["DogSchool"]) as leader:
        leader.wait()
        behind = [row["gap"] > 0 and row["lag_seconds"] > 0 for row in status("patient_dogschool")]
        assert behind.count(True) == 1


def test_before_a_follower_has_run_it_has_done_nothing(env: Env) -> None:
    with KafkaRunner(clinic, env, only=["DogSchool"]) as leader:
        leader.get(DogSchool).register_dog("Billy")
        leader.wait()

    rows = json.loads(invoke(consumer, env, "status", "--json", *CLINIC).stdout)
    assert [(row["position"], row["offset"]) for row in rows] == [(0, 0)] * 8
    assert f"eventsourcing-kafka compose run {CLINIC[1]}" in str(parked(env, "list").exception)


@pytest.mark.parametrize("command", ["status", "replay", "rebuild"])
def test_a_name_that_the_system_does_not_have_is_answered_with_those_it_has(
    env: Env, command: str
) -> None:
    result = invoke(consumer, env, command, "left_dogschool", *WARD)

    assert isinstance(result.exception, UnknownEdgeError)
    assert "It has: bottom_patient, patient_dogschool." in str(result.exception)


def test_of_a_system_with_several_views_one_is_to_be_said(env: Env) -> None:
    result = parked(env, "list", system=WARD)

    assert result.exit_code == 2
    assert "say which: patient_dogschool, bottom_patient" in result.output


def test_what_is_no_system_is_refused() -> None:
    with pytest.raises(SettingsError, match="take is no system"):
        system_named("tests.hosting.nursing:take")


@pytest.mark.parametrize("settings", [{}, {"SQLITE_DBNAME": ":memory:"}], ids=["POPO", "SQLite"])
def test_what_is_in_memory_is_said_to_be_out_of_reach(kafka_env: Env, settings: Env) -> None:
    module = "eventsourcing.sqlite" if settings else "eventsourcing.popo"
    env = {**kafka_env, **settings, "PERSISTENCE_MODULE": module}

    for arguments in (("status",), ("parked", "list")):
        result = invoke(consumer, env, *arguments, *CLINIC)
        assert isinstance(result.exception, InMemoryError)
        assert "memory of the process that runs it" in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "patient_dogschool", "--dry-run"),
        ("replay", "patient_dogschool", "--yes"),
        ("rebuild", "patient_dogschool", "--yes"),
        ("rebuild", "patient_dogschool", "--swap-back", "--yes"),
    ],
    ids=" ".join,
)
def test_what_records_events_is_neither_replayed_nor_rebuilt(
    stored: Env, arguments: Sequence[str]
) -> None:
    result = invoke(consumer, stored, *arguments, *CLINIC)

    assert isinstance(result.exception, NotReplayableError)
    what = {"replay": "replayed", "rebuild": "rebuilt"}[arguments[0]]
    told = str(result.exception)
    assert told.startswith(f"patient_dogschool can't be {what}: it is an application that may")


PROJECTED = "squeamish_dogschool"
ONE = ("--aggregate", BILLY)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rebuild", PROJECTED, "--yes"), "rebuilt: it is a projection"),
        (("replay", PROJECTED, *ONE), "replayed aggregate by aggregate: it is a projection"),
        (("step", PROJECTED, *ONE), "looked at step by step: it is a projection"),
        (("step", "patient_dogschool", *ONE), "looked at step by step: it is an application"),
    ],
)
def test_what_can_not_be_done_with_a_follower_is_named_with_its_own_reason(
    env: Env, arguments: Sequence[str], told: str
) -> None:
    name = "postgres_view" if PROJECTED in arguments else "clinic"
    env = {**env, "KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}  # It is not asked.
    result = invoke(consumer, env, *arguments, "--system", f"tests.hosting.nursing:{name}")

    assert isinstance(result.exception, NotReplayableError)
    assert f"{arguments[1]} can't be {told}" in str(result.exception)
    hint = f"consumer replay {PROJECTED} --system tests.hosting.nursing:postgres_view"
    assert (hint in str(result.exception)) is (name == "postgres_view")


def test_a_retry_that_conflicts_with_what_others_record_is_made_again(env: Env) -> None:
    with KafkaRunner(clinic, env) as runner:
        fall_ill(runner, "poison")
        patient = runner.get(Patient)

        def overtake() -> None:
            patient.save(patient.incremented("poison"))

        with (
            opened(chosen_edges(CLINIC[1], ()), env) as (store,),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("ANTIDOTE", "yes")
            Patient.meanwhile.append(overtake)
            assert anyio.run(partial(retry, store, BILLY)) == 1
        assert Patient.meanwhile == []
        assert patient.count("poison") == 2


@pytest.fixture(params=[on("Postgres", needs=SERVERS), on("SQLite", needs={"kafka"})])
def projected(request: pytest.FixtureRequest) -> tuple[str, Env]:
    """What a projection is called, and its settings."""
    if request.param == "Postgres":
        return "postgres_view", request.getfixturevalue("env")
    return "sqlite_view", request.getfixturevalue("sqlite_env")


@contextmanager
def projecting(
    view_class: type[Any], env: Env, projection_class: type[Squeamish] = Squeamish
) -> Iterator[tuple[DogSchool, Any, Callable[[], None]]]:
    """Project the dog school, and park what can't be applied.

    Yields the school, the view, and what waits until that has everything.
    """
    with KafkaProjectionRunner(
        application_class=DogSchool,
        projection_class=projection_class,
        view_class=view_class,
        env=env,
        on_error=OnError.PARK,
    ) as runner:

        def wait() -> None:
            runner.wait(runner.app.recorder.max_notification_id(), timeout=SECONDS)

        yield runner.app, runner.view, wait


def test_what_a_projection_could_not_take_is_applied_by_a_retry(projected: tuple[str, Env]) -> None:
    """All dogs are in one partition: the library's tracking of it is past the parked events."""
    name, env = projected
    env = {**env, "KAFKA_TOPIC_PARTITIONS": "1"}
    system = ("--system", f"tests.hosting.nursing:{name}")
    view_class = getattr(nursing, name).view_class
    with projecting(view_class, env) as (school, view, wait):
        for dog in ("Billy", "Milly"):
            school.register_dog(dog)
        for trick in ("beg", "poison", "sit"):
            school.add_trick("Billy", trick)
        school.add_trick("Milly", "beg")
        wait()
        reasons = [line["reason"] for line in lines(env, system)]
        assert reasons == ["CannotTakeError: poison", BEHIND]
        assert view.get_favourites(9) == [("beg", 2)]
        status = json.loads(invoke(consumer, env, "status", "--json", *system).stdout)
        assert sum(row["parked"] for row in status) == 2

        result = parked(env | MENDED, "retry", "--all", system=system)
        assert result.stdout == f"{BILLY}: 2 applied\n"
        assert lines(env, system) == []
        school.add_trick("Billy", "sit")
        wait()
        assert view.get_favourites(9) == [("beg", 2), ("sit", 2), ("poison", 1)]

    if name == "postgres_view":
        assert audited_without_rows(env, *system) == "squeamish_dogschool"


def audited_without_rows(env: Env, *system: str) -> str:
    """Audit twice, once with rows: what can't be compared is said. Returns the only view."""
    plain = invoke(compose, env, "audit", *system)
    assert (plain.exit_code, "its tracking compared, NOT compared: its rows" in plain.stdout) == (
        1,
        True,
    )
    result = invoke(compose, env, "audit", "--no-rows", "--json", *system)
    (view,) = json.loads(result.stdout)["views"]
    assert result.exit_code == 0, result
    assert (view["omitted"], view["as_asked"]) == ("its rows, as was asked", True)
    name: str = view["view"]
    return name


def test_what_was_recorded_before_it_failed_is_not_parked_to_be_recorded_again(
    sqlite_env: Env,
) -> None:
    """There a projection commits by itself, before we know that it fails."""
    with projecting(SQLiteTricksView, sqlite_env, Clumsy) as (school, view, wait):
        school.register_dog("Billy")
        school.add_trick("Billy", "beg")
        school.add_trick("Billy", "sit")
        wait()

        assert view.get_favourites(9) == [("beg", 1), ("sit", 1)]
        assert lines(sqlite_env, ("--system", "tests.hosting.nursing:clumsy_view")) == []


def audit(env: Env, *arguments: str) -> tuple[int, Report]:
    result = invoke(compose, env, "audit", "--json", *arguments, *WARD)
    return result.exit_code, msgspec.json.decode(result.stdout, type=Report)


def execute(env: Env, statement: str, schema: str) -> None:
    """Change something in a follower's database."""
    with connect(
        host=env["POSTGRES_HOST"],
        port=env["POSTGRES_PORT"],
        user=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        dbname=env["POSTGRES_DBNAME"],
    ) as connection:
        text: Any = statement
        connection.execute(sql.SQL(text).format(schema=sql.Identifier(schema)))


def test_the_audit_of_a_system_compares_every_leader_and_every_follower_in_postgres(
    env: Env,
) -> None:
    with KafkaRunner(ward, env) as runner:
        fall_ill(runner, "poison", "beg")
        first, _ = lines(env)
        assert parked(env, "drop", str(first["id"]), *REASON).exit_code == 0
        head = runner.get(DogSchool).recorder.max_notification_id()

    code, report = audit(env, "--no-rows")

    assert (code, report.clean) == (0, True), report
    with_rows, said = audit(env)
    assert (with_rows, said.clean, said.complete) == (1, True, False)
    assert all("only a follower's policy knows" in view.omitted for view in said.views)
    assert [topic.application for topic in report.topics] == ["DogSchool", "Patient"]
    assert report.topics[0].notifications == report.topics[0].records == head
    assert report.topics[1].notifications > TAUGHT
    assert [(view.view, view.parked, view.dropped) for view in report.views] == [
        ("patient_dogschool", 1, 1),
        ("bottom_patient", 0, 0),
    ]
    assert audit(env, "bottom_patient")[1].topics == report.topics[1:]


@pytest.mark.parametrize(
    ("statement", "schema", "where"),
    [
        (
            "UPDATE {schema}.tracking SET position = position + 1 WHERE position > 0",
            "bottom_patient",
            "bottom_patient.tracking",
        ),
        (
            "UPDATE {schema}.parked SET record_offset = record_offset + 1000",
            "patient_dogschool",
            "patient_dogschool",
        ),
        (
            "DELETE FROM public.patient_events WHERE notification_id = 1",
            "public",
            "Patient.topic",
        ),
        (
            "DELETE FROM public.dogschool_events WHERE notification_id = 3",
            "public",
            "DogSchool.topic",
        ),
    ],
)
def test_what_is_wrong_with_a_system_is_found_and_named(
    env: Env, statement: str, schema: str, where: str
) -> None:
    with KafkaRunner(ward, env) as runner:
        fall_ill(runner, "poison")
    execute(env, statement, schema)

    code, report = audit(env)

    assert code == 1
    assert where in {finding.where for finding in report.findings}
    shown = invoke(compose, env, "audit", *WARD)
    assert shown.exit_code == 1
    assert where in shown.stdout
    assert f"audited: {len(report.findings)} finding" in shown.stdout


def test_a_follower_outside_of_postgres_is_not_compared_which_is_said_and_no_success(
    env: Env, tmp_path: Path
) -> None:
    local = {"BOTTOM_PERSISTENCE_MODULE": "eventsourcing.sqlite"}
    env = {**env, **local, "BOTTOM_SQLITE_DBNAME": str(tmp_path / "bottom")}
    with KafkaRunner(ward, env) as runner:
        fall_ill(runner)

    code, report = audit(env)
    assert (code, report.clean) == (1, True)
    assert [view.view for view in report.views if view.exists] == ["patient_dogschool"]
    assert "bottom_patient: NOT compared, as it is not in Postgres" in str(report)
    refused = invoke(compose, env, "audit", "bottom_patient", *WARD)
    assert refused.exit_code == 1
    assert "bottom_patient is not in Postgres" in str(refused.exception)


def test_names_that_are_too_long_for_a_schema_are_refused_before_anything_runs(env: Env) -> None:
    runner = KafkaRunner(too_long, env)
    with pytest.raises(SettingsError, match="after 63 bytes"):
        runner.start()
    assert not hasattr(runner._parts, "_portal")


def test_names_that_just_fit_do(env: Env) -> None:
    with KafkaRunner(longest, env) as runner:
        fall_ill(runner)

        assert counts(runner.get(Longest)) == [4, 4, 4]


def test_one_waits_for_what_another_process_has_applied_too(env: Env) -> None:
    with KafkaRunner(ward, env) as one, KafkaRunner(ward, env) as other:
        for school in (one.get(DogSchool), other.get(DogSchool)):
            school.register_dog(f"Dog {id(school)}")
            school.add_trick(f"Dog {id(school)}", "beg")
        teach(other.get(DogSchool))
        for runner in (one, other):
            runner.wait()
            assert counts(runner.get(Bottom)) == [4, 4, 4]

        async def shared() -> bool:
            # Of each group, not of all: one may have the first half of this, the second of that.
            return all(
                0 < len(following.consumer.seen) < 8
                for runner in (one, other)
                for following in runner._parts._followings
            )

        anyio.run(until, shared)


def test_who_only_follows_is_waited_for(env: Env) -> None:
    with DogSchool(env) as school, KafkaRunner(clinic, env, only=["Patient"]) as follower:
        teach(school)
        with KafkaRunner(clinic, env, only=["DogSchool"]) as leader:
            leader.wait()
        follower.wait()

        assert counts(follower.get(Patient)) == [4, 4, 4]
