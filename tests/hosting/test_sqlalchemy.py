"""What can't be followed with, of what SQLAlchemy allows: refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import Environment
from sqlalchemy import Engine
from sqlalchemy.orm import scoped_session, sessionmaker

from eventsourcing_kafka.consumer.hosting.edge import store_of
from eventsourcing_kafka.producer.runtime.errors import SettingsError
from eventsourcing_kafka.producer.runtime.sqlalchemy import engine_of
from examples.dogschool.application import DogSchool
from tests.sqlalchemy import MODULE
from tests.systems.event_counters import SQLAlchemyEventCounters

from .tallying import Left, Tallying, chain


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": MODULE, "SQLALCHEMY_URL": f"sqlite:///{tmp_path / 'left'}"}


def follow(follower: Tallying, leader: type[Application[Any]]) -> None:
    store_of("Left", follower, follower.recorder, leader, follower.mapper)


def test_a_session_that_somebody_else_commits_is_refused(settings: dict[str, str]) -> None:
    with Left(settings) as left:
        recorder: Any = left.recorder
        engine: Engine = engine_of(recorder.datastore)
        recorder.datastore.set_scoped_session(scoped_session(sessionmaker(bind=engine)))

        with pytest.raises(SettingsError, match="unset SQLALCHEMY_SCOPED_SESSION_TOPIC"):
            follow(left, chain.get_app_cls("DogSchool"))


def test_another_database_is_refused(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Left(settings) as left:
        recorder: Any = left.recorder
        monkeypatch.setattr(engine_of(recorder.datastore).dialect, "name", "mssql")

        with pytest.raises(SettingsError, match="in Postgres and in SQLite only"):
            follow(left, chain.get_app_cls("DogSchool"))


class LongName(DogSchool):
    """Its name fits into the column, and leaves no room for a partition."""

    name = "ASchoolWithALongName"


def test_a_projection_refuses_a_leader_whose_name_leaves_no_room_for_the_partition(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with InfrastructureFactory[Any].construct(Environment("counters", settings)) as factory:
        view = factory.tracking_recorder(SQLAlchemyEventCounters)
        monkeypatch.setattr(engine_of(view.datastore).dialect, "name", "postgresql")
        projection: Any = object()
        mapper: Any = None

        with pytest.raises(SettingsError, match="Give the leader a `name` of at most 19"):
            store_of("Counters", projection, view, LongName, mapper)
