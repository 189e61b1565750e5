"""What is undone of events that a projection applies together, where one of them fails."""

from contextlib import suppress
from typing import Any

import pytest
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import IntegrityError, Tracking
from psycopg import DataError, connect

from eventsourcing_kafka.compose.runner import KafkaProjectionRunner
from eventsourcing_kafka.consumer.engine.applying import Applier, OnError
from examples.dogschool.application import DogSchool
from examples.dogschool.domainmodel import Dog
from examples.tricks.postgres import COUNT_TRICK, PostgresTricksView
from examples.tricks.projection import Tricks

GOOD, RAISES, UNDOES, FAILS = "good", "raises", "undoes", "fails"
REFUSED, REPAIRS, RECOVERS = "refused", "repairs", "recovers"
DOGS = 20
TOGETHER = {"KAFKA_TOPIC_PARTITIONS": "1"}
"""What is published at once of one partition is applied at once: of others it depends on when it
comes."""


class Careless(Tricks):
    """Fails in the middle of what it does, and in some cases keeps that to itself."""

    name = "careless"
    view: Any

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ARG002
        """Move on."""
        self.view.insert_tracking(tracking)

    @process_event.register(Dog.TrickAdded)
    def _(self, domain_event: Dog.TrickAdded, tracking: Tracking) -> None:
        trick = domain_event.trick
        if trick == RECOVERS:
            self._recover(tracking)
            return
        self.view.count_trick(trick, tracking)
        if trick == RAISES:
            raise LookupError(trick)
        with suppress(LookupError), self.view.datastore.transaction(commit=True) as cursor:
            if trick == UNDOES:
                cursor.execute(self.view._sql(COUNT_TRICK), ["undone"])
                raise LookupError(trick)
        if trick == FAILS:
            with suppress(Exception), self.view.datastore.get_connection() as connection:
                connection.execute("no SQL")
        if trick == REFUSED:
            with self.view.datastore.get_connection() as connection:
                connection.execute("SELECT 1 / 0")
        if trick == REPAIRS:
            self._repair()

    def _repair(self) -> None:
        """Count what is there already, as the error tells."""
        statement = self.view._sql("INSERT INTO {counts} (trick, times) VALUES (%s, 1)")
        for _ in range(2):
            try:
                with self.view.datastore.transaction(commit=True) as cursor:
                    cursor.execute(statement, ["undone"])
            except IntegrityError:
                with self.view.datastore.transaction(commit=True) as cursor:
                    cursor.execute(self.view._sql("DELETE FROM {counts} WHERE trick = 'undone'"))

    def _recover(self, tracking: Tracking) -> None:
        """Go back by hand where there is an error, and count it."""
        with self.view.datastore.get_connection() as connection:
            connection.execute("SAVEPOINT mine")
            try:
                connection.execute("SELECT 1 / 0")
                with suppress(DataError):  # If it comes late.
                    connection.execute("SELECT").fetchall()
            except DataError:
                connection.execute("ROLLBACK TO mine")
                self.view.count_trick(RECOVERS, tracking)
            else:
                connection.execute("ROLLBACK TO mine")


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events were applied together, each time."""
    sizes: list[int] = []
    together = Applier._together

    async def counted(applier: Applier, connection: Any, records: Any, *guard: Any) -> Any:
        sizes.append(len(records))
        return await together(applier, connection, records, *guard)

    monkeypatch.setattr(Applier, "_together", counted)
    return sizes


@pytest.mark.parametrize("dogs", [1, DOGS])
@pytest.mark.parametrize(
    ("trick", "counted", "reasons"),
    [
        (RAISES, 0, ["LookupError"]),
        (UNDOES, 1, []),
        (FAILS, 0, ["InFailedSqlTransaction"]),
        (REFUSED, 0, ["DataError"]),
        (REPAIRS, 1, []),
        (RECOVERS, 1, []),
    ],
)
def test_all_of_an_event_that_fails_is_undone_and_nothing_of_another(
    env: dict[str, str], sizes: list[int], trick: str, counted: int, reasons: list[str], dogs: int
) -> None:
    with DogSchool(env) as school:
        for dog in map(str, range(dogs)):
            school.register_dog(dog)
            school.add_trick(dog, GOOD)
        head = school.add_trick("0", trick)
    with KafkaProjectionRunner(
        application_class=DogSchool,
        projection_class=Careless,
        view_class=PostgresTricksView,
        env=env | TOGETHER,
        on_error=OnError.PARK,
    ) as runner:
        runner.wait(head, 30)
        view = runner.projection.view
        counts = [view.get_count(each) for each in (GOOD, trick, "undone")]
        store: Any = runner._parts._followings[0].consumer.store
    assert counts == [dogs, counted, 0]
    assert max(sizes) > dogs
    with connect(**store._connect()) as connection:
        parked = connection.execute(store.sql("SELECT reason FROM {schema}.parked ORDER BY id"))
        assert [reason.partition(":")[0] for (reason,) in parked] == reasons
