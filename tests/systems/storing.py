"""Where the applications of a system store: one store for each, in one environment for all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from eventsourcing.cipher import AESCipher
from eventsourcing.system import System


@dataclass
class Place:
    """What a test has to itself."""

    token: str
    folder: Path
    make_postgres: Callable[[], dict[str, str]]
    make_kafka: Callable[[], dict[str, str]]
    cipher_key: str = field(default_factory=lambda: AESCipher.create_key(num_bytes=32))

    @cached_property
    def postgres(self) -> dict[str, str]:
        """The settings of a database that is made when it is first asked for."""
        return self.make_postgres()

    @cached_property
    def kafka(self) -> dict[str, str]:
        """The settings of a broker that is started when it is first asked for."""
        return self.make_kafka()


Store = Callable[[Place, str], Mapping[str, str]]
"""Takes the place, and the name of the application; returns the settings of its store."""


def popo(_place: Place, _name: str) -> Mapping[str, str]:
    return {"PERSISTENCE_MODULE": "eventsourcing.popo"}


def sqlite(dbname: str) -> Mapping[str, str]:
    return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": dbname}


def sqlite_memory(_place: Place, _name: str) -> Mapping[str, str]:
    return sqlite(":memory:")


def sqlite_shared_cache(place: Place, name: str) -> Mapping[str, str]:
    return sqlite(f"file:{place.token}_{name}?mode=memory&cache=shared")


def sqlite_file(place: Place, name: str) -> Mapping[str, str]:
    return sqlite(str(place.folder / f"{name}.sqlite"))


def postgres(place: Place, _name: str) -> Mapping[str, str]:
    return place.postgres


def compressed(store: Store) -> Store:
    compressor = {"COMPRESSOR_TOPIC": "eventsourcing.compressor:ZlibCompressor"}
    return lambda place, name: {**store(place, name), **compressor}


def encrypted(store: Store) -> Store:
    return lambda place, name: {
        **store(place, name),
        "CIPHER_TOPIC": "eventsourcing.cipher:AESCipher",
        "CIPHER_KEY": place.cipher_key,
    }


def settings(place: Place, stores: Mapping[str, Store]) -> dict[str, str]:
    """Return one environment with the store of each application under the application's name."""
    return {
        f"{name.upper()}_{key}": value
        for name, store in stores.items()
        for key, value in store(place, name).items()
    }


@dataclass(frozen=True)
class Persistence:
    """Where a system stores."""

    name: str
    leaders: Store
    followers: Store
    of_one_thread: bool = False

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

DURABLE = [SQLITE_FILES, PRIVATE_POSTGRES, POSTGRES_AND_SQLITE]
EVERY = [POPO, SQLITE_MEMORY, SQLITE_SHARED, *DURABLE]
