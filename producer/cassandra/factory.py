"""Makes recorders of an application's settings."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType, strtobool

from eventsourcing_kafka.producer.cassandra.datastore import CassandraDatastore, Place
from eventsourcing_kafka.producer.cassandra.recorders import (
    CassandraAggregateRecorder,
    CassandraApplicationRecorder,
    ToID,
)
from eventsourcing_kafka.producer.runtime.errors import SettingsError

CREATE_TABLE = "CREATE_TABLE"
PORT = "9042"

R = TypeVar("R", bound=CassandraAggregateRecorder)


class CassandraFactory(InfrastructureFactory[TrackingRecorder]):
    """Makes recorders of `CASSANDRA_HOSTS`, `CASSANDRA_PORT`, `CASSANDRA_KEYSPACE` and others."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self.datastore = CassandraDatastore(
            Place(
                hosts=[host.strip() for host in self._required("CASSANDRA_HOSTS").split(",")],
                port=self._port(),
                keyspace=self._required("CASSANDRA_KEYSPACE"),
                user=self.env.get("CASSANDRA_USER"),
                password=self.env.get("CASSANDRA_PASSWORD"),
            )
        )

    def _port(self) -> int:
        port = self.env.get("CASSANDRA_PORT") or PORT
        if not port.isdecimal():
            raise SettingsError(f"CASSANDRA_PORT is {port!r}, which is no port.")
        return int(port)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Return what records snapshots."""
        return self._created(
            CassandraAggregateRecorder(self.datastore, self._table(purpose), self._to_id())
        )

    def application_recorder(self) -> ApplicationRecorder:
        """Return what records events."""
        return self._created(
            CassandraApplicationRecorder(
                self.datastore, self._table("events"), self._table("saves"), self._to_id()
            )
        )

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> NoReturn:  # noqa: ARG002
        """Raise `SettingsError`: nothing is followed into Cassandra."""
        self._refuse()

    def process_recorder(self) -> NoReturn:
        """Raise `SettingsError`: nothing is followed into Cassandra."""
        self._refuse()

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036 - handed on
        """Close the connections."""
        super().__exit__(*error)
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.datastore.close()

    def _refuse(self) -> NoReturn:
        name = self.env.name
        raise SettingsError(
            f"{name} follows others, and nothing is followed into Cassandra: set "
            f"{name.upper()}_PERSISTENCE_MODULE=eventsourcing.postgres, and its settings."
        )

    def _required(self, name: str) -> str:
        if value := self.env.get(name):
            return value
        raise SettingsError(f"{name} is not set: Cassandra is to be found by it.")

    def _table(self, purpose: str) -> str:
        name = (self.env.name or "stored").lower()
        return self.datastore.place.table(f"{name}_{purpose}")

    def _to_id(self) -> ToID:
        kind = (self.env.get("ORIGINATOR_ID_TYPE") or "uuid").lower()
        if kind not in {"uuid", "text"}:
            raise SettingsError(f"ORIGINATOR_ID_TYPE is {kind!r}: it can be uuid or text.")
        return UUID if kind == "uuid" else str

    def _created(self, recorder: R) -> R:
        if strtobool(self.env.get(CREATE_TABLE) or "yes"):
            recorder.create_table()
        return recorder
