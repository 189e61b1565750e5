"""Where the applications of a system store: one store for each, in one environment for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from eventsourcing.cipher import AESCipher
from eventsourcing.system import System

from tests.layers import CASSANDRA
from tests.sqlalchemy import MODULE, url_of


@dataclass
class Place:
    """What a test has to itself."""

    token: str
    folder: Path
    make_postgres: Callable[[], dict[str, str]]
    make_kafka: Callable[[], dict[str, str]]
    make_cassandra: Callable[[], dict[str, str]]
    cipher_key: str = field(default_factory=lambda: AESCipher.create_key(num_bytes=32))

    @cached_property
    def postgres(self) -> dict[str, str]:
        """The settings of a database that is made when it is first asked for."""
        return self.make_postgres()

    @cached_property
    def kafka(self) -> dict[str, str]:
        """The settings of a broker that is started when it is first asked for."""
        return self.make_kafka()

    @cached_property
    def cassandra(self) -> dict[str, str]:
        """The settings of a keyspace, on a node that is started when it is first asked for."""
        return self.make_cassandra()


@dataclass(frozen=True)
class Store:
    """A kind of store: the settings of an application's, by the place and its name."""

    settings: Callable[[Place, str], Mapping[str, str]]
    servers: frozenset[str] = frozenset()
    """The fixtures that it needs."""

    def and_also(self, settings: Callable[[Place], Mapping[str, str]]) -> "Store":
        """Return the same with more settings."""
        return replace(
            self, settings=lambda place, name: {**self.settings(place, name), **settings(place)}
        )


def sqlite(dbname: str) -> Mapping[str, str]:
    return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": dbname}


popo = Store(lambda _place, _name: {"PERSISTENCE_MODULE": "eventsourcing.popo"})
sqlite_memory = Store(lambda _place, _name: sqlite(":memory:"))
sqlite_shared_cache = Store(
    lambda place, name: sqlite(f"file:{place.token}_{name}?mode=memory&cache=shared")
)
sqlite_file = Store(lambda place, name: sqlite(str(place.folder / f"{name}.sqlite")))
postgres = Store(lambda place, _name: place.postgres, servers=frozenset({"postgres"}))

sqlalchemy_sqlite = Store(
    lambda place, name: {
        "PERSISTENCE_MODULE": MODULE,
        "SQLALCHEMY_URL": f"sqlite:///{place.folder / name}.sqlalchemy",
    }
)
sqlalchemy_postgres = Store(
    lambda place, _name: {
        "PERSISTENCE_MODULE": MODULE,
        "SQLALCHEMY_URL": url_of(place.postgres, "system"),
    },
    servers=frozenset({"postgres"}),
)
cassandra = Store(lambda place, _name: place.cassandra, servers=frozenset({CASSANDRA}))

tagged_popo = Store(lambda _place, _name: {"PERSISTENCE_MODULE": "eventsourcing.dcb.popo"})
tagged_postgres = Store(
    lambda place, _name: {
        **place.postgres,
        "PERSISTENCE_MODULE": "eventsourcing.dcb.postgres_tt",
    },
    servers=frozenset({"postgres"}),
)
"""Of tagged decisions."""


def compressed(store: Store) -> Store:
    return store.and_also(
        lambda _place: {"COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor"}
    )


def encrypted(store: Store) -> Store:
    return store.and_also(
        lambda place: {
            "CIPHER_TOPIC": "eventsourcing.cipher:AESCipher",
            "CIPHER_KEY": place.cipher_key,
        }
    )


def settings(place: Place, stores: Mapping[str, Store]) -> dict[str, str]:
    """Return one environment with the store of each application under the application's name."""
    return {
        f"{name.upper()}_{key}": value
        for name, store in stores.items()
        for key, value in store.settings(place, name).items()
    }


@dataclass(frozen=True)
class Persistence:
    """Where a system stores."""

    name: str
    leaders: Store
    followers: Store
    of_one_thread: bool = False
    subscribes: bool = True
    """Whether the library has a subscription there, which its multi-threaded runner needs."""

    @property
    def servers(self) -> frozenset[str]:
        """The fixtures that it needs."""
        return self.leaders.servers | self.followers.servers

    def environment(self, place: Place, system: System) -> dict[str, str]:
        """Return the environment of a system."""
        leaders = dict.fromkeys(system.leaders_only, self.leaders)
        return settings(place, {**leaders, **dict.fromkeys(system.followers, self.followers)})

    def encrypted(self) -> "Persistence":
        """Return the same with everything encrypted."""
        return Persistence(
            f"{self.name}, encrypted",
            encrypted(self.leaders),
            encrypted(self.followers),
            self.of_one_thread,
        )


private_postgres = encrypted(compressed(postgres))

POPO = Persistence("POPO", popo, popo)
SQLITE_MEMORY = Persistence("SQLite in memory", sqlite_memory, sqlite_memory, of_one_thread=True)
SQLITE_SHARED = Persistence("SQLite shared cache", sqlite_shared_cache, sqlite_shared_cache)
SQLITE_FILES = Persistence("SQLite files", sqlite_file, sqlite_file)
POSTGRES = Persistence("Postgres", postgres, postgres)
PRIVATE_POSTGRES = Persistence("private Postgres", private_postgres, private_postgres)
POSTGRES_AND_SQLITE = Persistence("Postgres and an SQLite file", private_postgres, sqlite_file)
SQLALCHEMY_SQLITE = Persistence(
    "SQLAlchemy on SQLite",
    encrypted(sqlalchemy_sqlite),
    encrypted(sqlalchemy_sqlite),
    subscribes=False,
)
SQLALCHEMY_POSTGRES = Persistence(
    "SQLAlchemy on Postgres", encrypted(sqlalchemy_postgres), encrypted(sqlalchemy_postgres)
)
CASSANDRA_AND_POSTGRES = Persistence(
    "Cassandra and Postgres", encrypted(cassandra), encrypted(postgres)
)

DURABLE = [SQLITE_FILES, PRIVATE_POSTGRES, POSTGRES_AND_SQLITE]
EVERY = [POPO, SQLITE_MEMORY, SQLITE_SHARED, *DURABLE]
