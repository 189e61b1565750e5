"""A run in memory is another application: it fences nobody, and leaves no topics behind."""

from collections.abc import Collection

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from eventsourcing_kafka.compose.runner import KafkaProjectionRunner, KafkaRunner
from eventsourcing_kafka.producer.kafka.clients import started
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from examples.counters.application import Counters
from examples.counters.system import system
from examples.dogschool.application import DogSchool
from examples.tricks.popo import POPOTricksView
from examples.tricks.projection import Tricks, TricksView
from tests.layers import on
from tests.pipeline import SECONDS

from .storing import Place, Store, popo, postgres, settings, sqlite_file, sqlite_shared_cache


def topics(place: Place) -> Collection[str]:
    async def listed() -> list[str]:
        async with started(
            AIOKafkaAdminClient(**KafkaSettings.from_env(place.kafka).client())
        ) as admin:
            return [each for each in await admin.list_topics() if each.startswith(place.token)]

    return anyio.run(listed)


@pytest.mark.usefixtures("kafka", "postgres")
def test_a_run_in_memory_beside_a_live_one_fences_nobody(place: Place) -> None:
    lasting = {**settings(place, dict.fromkeys(system.nodes, postgres)), **place.kafka}
    in_memory = {**settings(place, {"DogSchool": popo, "Tricks": popo}), **place.kafka}
    with KafkaRunner(system, lasting) as live:
        school = live.get(DogSchool)
        school.register_dog("Billy")
        live.wait()
        with KafkaProjectionRunner(
            application_class=DogSchool,
            projection_class=Tricks,
            view_class=POPOTricksView,
            env=in_memory,
        ) as beside:
            beside.app.register_dog("Milly")
            beside.wait(beside.app.add_trick("Milly", "sit"), timeout=SECONDS)
            assert beside.view.get_count("sit") == 1
        school.add_trick("Billy", "sit")
        live.wait()
        assert live.get(Counters).get_count("sit") == 1


@pytest.mark.usefixtures("kafka")
@pytest.mark.parametrize("store", [on(popo, name="POPO"), on(sqlite_shared_cache, name="SQLite")])
def test_the_topics_of_a_run_in_memory_go_with_it(place: Place, store: Store) -> None:
    env = {**settings(place, dict.fromkeys(system.nodes, store)), **place.kafka}
    with KafkaRunner(system, env) as runner:
        runner.get(DogSchool).register_dog("Billy")
        runner.wait()
        assert len(topics(place)) == 2
    assert not topics(place)


@pytest.mark.usefixtures("kafka")
def test_the_topics_of_what_lasts_stay(place: Place) -> None:
    env = {**settings(place, dict.fromkeys(system.nodes, sqlite_file)), **place.kafka}
    with KafkaRunner(system, env) as runner:
        runner.get(DogSchool).register_dog("Billy")
        runner.wait()
    assert len(topics(place)) == 2


@pytest.mark.usefixtures("kafka", "postgres")
def test_each_view_in_memory_has_all_of_a_lasting_application(place: Place) -> None:
    env = {**settings(place, {"DogSchool": postgres, "Tricks": popo}), **place.kafka}

    def projecting() -> KafkaProjectionRunner[DogSchool, TricksView]:
        return KafkaProjectionRunner(
            application_class=DogSchool,
            projection_class=Tricks,
            view_class=POPOTricksView,
            env=env,
        )

    with projecting() as one, projecting() as other:
        for name in ("Billy", "Milly", "Scrappy", "Fido"):
            one.app.register_dog(name)
            position = one.app.add_trick(name, "sit")
        for runner in (one, other):
            runner.wait(position, timeout=SECONDS)
            assert runner.view.get_count("sit") == 4
