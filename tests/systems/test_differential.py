"""A follower over Kafka is given exactly what the same follower is given by the library's runner.

Whatever the classes of the events are, and however they are stored: it records what it was given.
"""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application, ProcessingEvent
from eventsourcing.domain import Aggregate, DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder
from eventsourcing.system import ProcessApplication, Runner, SingleThreadedRunner, System
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsourcing_kafka.compose.runner import KafkaRunner
from eventsourcing_kafka.producer.wire.event_types import Event
from tests.layers import on
from tests.wire.test_differential import Labelled, events, exactly
from tests.wire.test_state import DateAsISO, PairAsList

from .storing import POPO, Persistence, Place, compressed, popo

COMPRESSED = Persistence("compressed", compressed(popo), compressed(popo))
STORED = [POPO, COMPRESSED.encrypted()]

EVENTS = events().filter(lambda event: not isinstance(event, Labelled))


class Market(Application[UUID]):
    """Stores the events that it is given."""

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(PairAsList())
        transcoder.register(DateAsISO())


class Seen(Aggregate):
    """What a follower was given."""

    def __init__(self, of: UUID, what: str) -> None:
        self.of = of
        self.what = what


class Witness(Market, ProcessApplication[UUID]):
    """Records what it is given."""

    def policy(
        self, domain_event: DomainEventProtocol[UUID], processing_event: ProcessingEvent[UUID]
    ) -> None:
        cls, attributes = exactly(domain_event)
        what = f"{cls.__qualname__} {attributes}".encode("unicode_escape").decode()
        processing_event.collect_events(Seen(domain_event.originator_id, what))

    def seen(self, of: UUID) -> list[str]:
        """Return what it was given of an aggregate."""
        recorded = self.recorder.select_notifications(1, 1_000_000)
        made = [self.mapper.to_domain_event(each) for each in recorded]
        return [each.what for each in made if each.of == of]  # type: ignore[attr-defined]


witnessed = System(pipes=[[Market, Witness]])

Runners = tuple[Runner[UUID], KafkaRunner]


@pytest.fixture(params=[on(each, needs={"kafka"}, name=each.name) for each in STORED])
def runners(request: pytest.FixtureRequest, place: Place) -> Iterator[Runners]:
    """Run the system by the library's runner and by ours."""
    environment = request.param.environment(place, witnessed)
    library: Runner[UUID] = SingleThreadedRunner(witnessed, environment)
    with (
        library,
        KafkaRunner(witnessed, {**environment, **place.kafka}) as ours,
    ):
        yield library, ours


# The runners' clients draw lots in threads of their own while an example is made.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@given(given=st.lists(EVENTS, min_size=1, max_size=20))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_follower_records_what_it_records_in_the_library(
    runners: Runners, given: list[Event]
) -> None:
    library, ours = runners
    for event in given:
        vars(event)["originator_id"] = uuid4()
        for runner in runners:
            runner.get(Market).save(event)
    ours.wait()

    for event in given:
        expected = library.get(Witness).seen(event.originator_id)
        assert ours.get(Witness).seen(event.originator_id) == expected
        assert len(expected) == 1
