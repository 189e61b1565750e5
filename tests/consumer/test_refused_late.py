"""What Postgres refuses when it commits, or by a trigger, is of the event that it is of."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.stack.stack import postgres_environment
from eventsourcing_kafka.consumer.engine import store as store_module
from eventsourcing_kafka.consumer.engine.applying import Applied, Applier, CannotApplyError, OnError
from eventsourcing_kafka.consumer.engine.store import ViewStore
from eventsourcing_kafka.consumer.operations.redrive import StillFailingError, retry
from eventsourcing_kafka.producer.runtime.retry import SessionLostError
from examples.dogschool.application import DogSchool

from .stores import PARTITIONS, TRICKS, Following, TricksUnitOfWork, hosted, made

KNOWN: LiteralString = """
    CREATE TABLE {schema}.known (trick text PRIMARY KEY)
"""
KNOW: LiteralString = """
    INSERT INTO {schema}.known VALUES ('sit'), ('roll')
"""
FOREIGN_KEY: LiteralString = """
    ALTER TABLE {schema}.tricks
        ADD FOREIGN KEY (trick) REFERENCES {schema}.known DEFERRABLE INITIALLY DEFERRED
"""
FUNCTION: LiteralString = """
    CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.trick = 'fly' THEN
            <refuse>;
        END IF;
        RETURN NEW;
    END $$
"""
DEFERRED_TRIGGER: LiteralString = """
    CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON {schema}.tricks
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()
"""
TRIGGER: LiteralString = """
    CREATE TRIGGER refused BEFORE INSERT ON {schema}.tricks
        FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()
"""


FUNCTION_THAT_RAISES = FUNCTION.replace("<refuse>", "RAISE 'no dog flies'")


def refusing(statement: LiteralString, trigger: LiteralString = TRIGGER) -> Sequence[LiteralString]:
    return KNOWN, FUNCTION.replace("<refuse>", statement), trigger


CODES: Sequence[LiteralString] = ("09000", "27000", "2F005", "38001", "45000", "HELLO", "FLY01")
"""Those that psycopg takes for a server's, or does not know."""

WAYS = {
    "ForeignKeyViolation": (KNOWN, KNOW, FOREIGN_KEY),
    "RaiseException: no dog flies, late": refusing("RAISE 'no dog flies'", DEFERRED_TRIGGER),
    "RaiseException: no dog flies": refusing("RAISE 'no dog flies'"),
    "CaseNotFound": refusing("CASE NEW.trick WHEN 'sit' THEN END CASE"),
    "AssertFailure": refusing("ASSERT false"),
    "StatementTooComplex": refusing("PERFORM (repeat('[', 20000) || repeat(']', 20000))::jsonb"),
    **{code: refusing(f"RAISE '{code}' USING ERRCODE = '{code}'") for code in CODES},
}
"""What the reason says, and the tables that refuse so."""

COUNTED: LiteralString = """
    CREATE SEQUENCE {schema}.counts;
    CREATE FUNCTION {schema}.count() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('{schema}.counts');
        RETURN NULL;
    END $$;
    CREATE FUNCTION {schema}.counted() RETURNS bigint LANGUAGE sql
    RETURN nextval('{schema}.counts')
"""
COUNT: LiteralString = """
    CREATE CONSTRAINT TRIGGER counting AFTER INSERT ON {schema}.tricks
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.count()
"""
UNIQUE: Sequence[LiteralString] = (
    "CREATE TABLE {schema}.soon (number integer UNIQUE DEFERRABLE INITIALLY IMMEDIATE)",
    "CREATE TABLE {schema}.late (number integer UNIQUE DEFERRABLE INITIALLY DEFERRED)",
)

OF_ONE_NAME: Sequence[LiteralString] = (
    "CREATE TABLE {schema}.sooner (number integer CONSTRAINT one CHECK (number > 0))",
    """
    CREATE TABLE {schema}.later (
        trick text CONSTRAINT one REFERENCES {schema}.known DEFERRABLE INITIALLY DEFERRED
    )
    """,
)
AS_SOMEBODY: Sequence[LiteralString] = (
    "CREATE SCHEMA others",
    "CREATE TABLE others.rows (number integer UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    "CREATE ROLE somebody",
    "GRANT USAGE ON SCHEMA {schema} TO somebody",
    "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO somebody",
    "SET LOCAL ROLE somebody",
)

REFUSE_OF_A_RECORDER: LiteralString = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF position('fly' IN convert_from(NEW.state, 'UTF8')) > 0 THEN
            RAISE 'no dog flies';
        END IF;
        RETURN NULL;
    END $$
"""
OF_A_RECORDER: Sequence[LiteralString] = (
    """
    CREATE TRIGGER refused AFTER INSERT ON patient_events
        FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    """
    CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON patient_events
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
)


class LearningUnitOfWork(TricksUnitOfWork):
    """Says only after it has counted a trick that it is known, as a deferred constraint allows."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        await super().write(connection)
        if any(trick == "beg" for _, trick in self._times):
            statement = sql.SQL("INSERT INTO {}.known VALUES ('beg')")
            await connection.execute(statement.format(sql.Identifier(self._schema)))


class TaughtUnitOfWork(TricksUnitOfWork):
    """Has a trick known by another event, which may come later."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        learnt = {trick for _, trick in self._times if trick.startswith("learn ")}
        self._times = Counter({key: n for key, n in self._times.items() if key[1] not in learnt})
        await super().write(connection)
        for trick in sorted(learnt):
            statement = sql.SQL("INSERT INTO {}.known VALUES (%s)")
            known = [trick.removeprefix("learn ")]
            await connection.execute(statement.format(sql.Identifier(self._schema)), known)


class CarelessUnitOfWork(TricksUnitOfWork):
    """Would write a row twice in one statement, if there are two events of it."""

    async def write(self, connection: AsyncConnection[Any]) -> None:
        tricks = [key for key, times in self._times.items() for _ in range(times)]
        statement = sql.SQL("""
            INSERT INTO {}.tricks SELECT partition, trick, 1
              FROM unnest(%s::integer[], %s::text[]) AS told (partition, trick)
                ON CONFLICT (partition, trick) DO UPDATE SET times = tricks.times + 1
        """).format(sql.Identifier(self._schema))
        await connection.execute(
            statement, [[key[0] for key in tricks], [key[1] for key in tricks]]
        )


@pytest.fixture
def env(postgres: Postgres, database: Callable[[str], str]) -> dict[str, str]:
    return postgres_environment(postgres, {"SYSTEM": database("system")})


@pytest.fixture
def school() -> Iterator[DogSchool]:
    with DogSchool() as school:
        yield school


async def prepared(env: dict[str, str], school: DogSchool, **changes: Any) -> Following:
    store = await made(env, **changes)
    return Following(store, school, int)


@pytest.mark.parametrize("sent_ahead", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_refused_parks_its_event_and_no_other(
    env: dict[str, str], school: DogSchool, way: str, sent_ahead: bool
) -> None:
    create = (*TRICKS.create, *WAYS[way])
    following = await prepared(
        env, school, create=create, unit_of_work=LearningUnitOfWork, sent_ahead=sent_ahead
    )
    following.teach(0, "sit", "fly")
    following.teach(1, "roll", "beg")

    await following.catch_up()

    assert await following.counts() == {"sit": 1, "roll": 1, "beg": 1}
    (parked,) = await following.parked()
    assert way.partition(",")[0] in parked.reason
    assert {n: each.offset for n, each in (await following.seen()).items()} == {
        number: len(records) for number, records in enumerate(following.topic)
    }


async def test_a_partition_stops_before_what_would_be_refused_late(
    env: dict[str, str], school: DogSchool
) -> None:
    create = (*TRICKS.create, KNOWN, KNOW, FOREIGN_KEY)
    following = await prepared(env, school, create=create)
    following.teach(0, "sit", "fly")
    following.teach(1, "roll")

    outcome = await following.catch_up(OnError.STOP)

    assert isinstance(outcome, Applied)
    assert outcome.stopped[0].startswith("ForeignKeyViolation")
    assert await following.counts() == {"sit": 1, "roll": 1}
    assert (await following.seen())[0].offset == len(following.topic[0]) - 1


async def test_what_is_refused_of_two_events_together_is_applied_one_by_one(
    env: dict[str, str], school: DogSchool
) -> None:
    following = await prepared(env, school, unit_of_work=CarelessUnitOfWork)
    following.teach(0, "sit", "sit")

    await following.catch_up()

    assert await following.counts() == {"sit": 2}
    assert await following.parked() == []


async def test_what_waits_for_the_end_of_a_batch_is_done_once_however_many_events_it_has(
    env: dict[str, str], school: DogSchool
) -> None:
    create = (*TRICKS.create, *refusing("RAISE 'no dog flies'", DEFERRED_TRIGGER), COUNTED, COUNT)
    following = await prepared(env, school, create=create)
    following.teach(0, *(f"trick {number}" for number in range(30)))
    following.teach(1, "fly")

    await following.catch_up()

    store = following.store
    assert isinstance(store, ViewStore)
    async with store.connected() as connection:
        cursor = await connection.execute(store.sql("SELECT {schema}.counted()"))
        row = await cursor.fetchone()
    assert row
    assert 30 < row[0] < 5 * 30


async def test_what_waits_only_when_it_is_told_to_does_not_wait_after_a_check(
    env: dict[str, str],
) -> None:
    store = await made(env, create=(*TRICKS.create, *UNIQUE))
    async with store.connected() as connection, connection.transaction(force_rollback=True):
        await store.check_deferred(connection)
        await connection.execute(store.sql("INSERT INTO {schema}.late VALUES (1), (1)"))
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.execute(store.sql("INSERT INTO {schema}.soon VALUES (1), (1)"))


async def test_events_that_are_right_together_are_applied_beside_one_that_is_refused(
    env: dict[str, str], school: DogSchool
) -> None:
    create = (*TRICKS.create, KNOWN, KNOW, FOREIGN_KEY, FUNCTION_THAT_RAISES, TRIGGER)
    following = await prepared(env, school, create=create, unit_of_work=TaughtUnitOfWork)
    following.teach(0, "beg", "learn beg")
    following.teach(1, "fly")

    await following.catch_up()

    assert await following.counts() == {"beg": 1}
    (parked,) = await following.parked()
    assert parked.originator_id == following.dog_id(1)


async def test_parked_events_that_are_right_together_are_applied_by_a_retry(
    env: dict[str, str], school: DogSchool
) -> None:
    create = (*TRICKS.create, KNOWN, KNOW, FOREIGN_KEY)
    following = await prepared(env, school, create=create, unit_of_work=TaughtUnitOfWork)
    following.teach(0, "beg")
    await following.catch_up()
    with pytest.raises(StillFailingError, match="ForeignKeyViolation"):
        await retry(following.store, following.dog_id(0))
    following.teach(0, "learn beg")
    await following.catch_up()

    assert await retry(following.store, following.dog_id(0)) == 2

    assert await following.counts() == {"beg": 1}
    assert await following.parked() == []


@pytest.mark.parametrize(
    ("others", "waiting"),
    [
        (AS_SOMEBODY, "INSERT INTO {schema}.late VALUES (1), (1)"),
        (OF_ONE_NAME, "INSERT INTO {schema}.later VALUES ('beg')"),
    ],
    ids=["constraints of a schema that is not for us", "two of one name"],
)
async def test_what_waits_goes_on_to_wait_whatever_else_there_is(
    env: dict[str, str], others: Sequence[LiteralString], waiting: LiteralString
) -> None:
    store = await made(env, create=(*TRICKS.create, KNOWN, *UNIQUE))
    async with store.connected() as connection, connection.transaction(force_rollback=True):
        for statement in others:
            await connection.execute(store.sql(statement))
        await store.check_deferred(connection)
        await connection.execute(store.sql(waiting))
        with pytest.raises(psycopg.IntegrityError):
            await store.check_deferred(connection)


@pytest.mark.parametrize("gone", ["others.one", "tricks.one"])
async def test_constraints_that_are_gone_meanwhile_are_no_fault_of_an_event(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    store = await made(env)
    monkeypatch.setattr(store_module, "SELECT_DEFER", f"SELECT 'SET CONSTRAINTS {gone} DEFERRED'")
    async with store.connected() as connection, connection.transaction(force_rollback=True):
        with pytest.raises(SessionLostError):
            await store.check_deferred(connection)


async def test_of_an_aggregate_that_is_applied_anew_it_is_said_which_event_is_refused_late(
    env: dict[str, str], school: DogSchool
) -> None:
    create = (*TRICKS.create, KNOWN, KNOW, FOREIGN_KEY)
    following = await prepared(env, school, create=create)
    following.teach(0, "sit", "fly", "roll")
    following.relay()
    applier = Applier(following.store, OnError.RAISE, redriving=True)

    async with following.store.connected() as connection:
        with pytest.raises(CannotApplyError) as raised:
            await applier.reapply(connection, following.topic[0])

    assert raised.value.record == following.topic[0][2]


@pytest.mark.parametrize("trigger", OF_A_RECORDER, ids=["at once", "late"])
async def test_what_is_refused_of_a_hosted_application_parks_its_event(
    env: dict[str, str], trigger: LiteralString
) -> None:
    with hosted(env) as following:
        async with following.store.working({}) as connection:
            await following.store.run(following.store.prepare, connection, PARTITIONS)
        async with following.store.connected() as connection:
            for statement in (REFUSE_OF_A_RECORDER, trigger):
                await connection.execute(statement)
        following.teach(0, "sit", "fly")
        following.teach(1, "roll")

        await following.catch_up()

        assert await following.counts() == {"sit": 1, "roll": 1}
        (parked,) = await following.parked()
        assert "no dog flies" in parked.reason
