"""The jars of a server, fetched once and kept in the user's cache folder.

A lock, `kafka.lock` beside this file, names each jar and its digest, so what is fetched is the
same for everyone. The manifest, a list of the jars in the cache, is written last and in one
step: jars without a manifest are a download that was cut, and jars with one are whole. A
later start reads the manifest and nothing else, so it needs no network.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from eventsourcing_kafka.compose.servers.errors import StackError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

_CONNECTIONS = 8  # jars fetched at a time

Report = Callable[[int, int, int], None]
"""Told how many jars are there, how many there will be, and how many bytes have come."""


def cache() -> Path:
    """Return the folder that keeps the jars: `EVENTSOURCING_KAFKA_CACHE`, or the user's own."""
    chosen = os.environ.get("EVENTSOURCING_KAFKA_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("eventsourcing-kafka")


@dataclass(frozen=True)
class Jars:
    """What a server of one version is made of."""

    server: str
    version: str
    coordinates: Sequence[str]
    """What its jars follow from."""
    megabytes: int
    """Of disk that they take."""

    @property
    def lock(self) -> Path:
        """The file that names them all."""
        return Path(__file__).with_name(f"{self.server.lower()}.lock")

    def classpath(self, lock: Path | None = None) -> str:
        """Return the Java class path, after fetching the jars if they are not there yet.

        Blocks while it fetches, and while another process does. Raises StackError when the
        jars can't be fetched or kept; what has come so far is kept for the next try.
        """
        folder = cache()
        try:
            jars = self._kept(folder)
            if jars is None:
                folder.mkdir(parents=True, exist_ok=True)
                with locked(folder / "lock"):
                    jars = self._kept(folder) or self._fetch(folder, lock or self.lock)
        except (OSError, RuntimeError) as error:
            raise StackError(
                f"{self.server} {self.version} could not be fetched into {folder}: {error}\n"
                f"The first start needs the network and {self.megabytes} MB of disk; later ones do"
                " not. Start again when they are there: what has come so far is kept."
            ) from error
        return os.pathsep.join(map(str, jars))

    def _manifest(self, folder: Path) -> Path:
        return folder / f"{self.server.lower()}-{self.version}.jars"

    def _kept(self, folder: Path) -> list[Path] | None:
        """Return the jars of a whole earlier download."""
        try:
            names = self._manifest(folder).read_text().splitlines()
        except FileNotFoundError:
            return None
        jars = [folder / name for name in names]
        return jars if all(jar.exists() for jar in jars) else None

    def _fetch(self, folder: Path, lock: Path) -> list[Path]:
        jars_of_lock = _read_lock(lock)
        context = _context(folder / "repository")
        jars: list[Path] = []
        received = 0
        what = f"{self.server} {self.version}"
        with _progress(what) as report, ThreadPoolExecutor(_CONNECTIONS) as pool:
            try:
                futures = [pool.submit(_fetch_jar, context, *jar) for jar in jars_of_lock]
                for future in as_completed(futures):
                    jars.append(future.result())
                    received += jars[-1].stat().st_size
                    report(len(jars), len(jars_of_lock), received)
            except BaseException:  # an interrupt too: do not fetch the rest first
                pool.shutdown(cancel_futures=True)
                raise
        jars.sort()
        whole = self._manifest(folder).with_suffix(".new")
        whole.write_text("".join(f"{jar.relative_to(folder)}\n" for jar in jars))
        whole.replace(self._manifest(folder))
        return jars

    def write_lock(self) -> None:
        """Look up anew which jars are needed; for the one who changes the version."""
        from jgo.parse import Endpoint

        context = _context(cache() / "repository")
        wanted = [
            context.create_dependency(replace(coordinate, scope="compile"))
            for coordinate in Endpoint.parse("+".join(self.coordinates)).coordinates
        ]
        named, followed = context.resolver.resolve(wanted)
        needed = [d.artifact for d in (*named, *followed) if d.scope in {"compile", "runtime"}]
        lines = sorted(
            f"{jar.groupId}:{jar.artifactId}:{jar.version} {_digest(jar.resolve())}"
            for jar in needed
            if not jar.classifier  # for one kind of machine only, and done without
        )
        heading = f"# The jars that {self.server} needs: written by `python -m {__spec__.name}`."
        self.lock.write_text("\n".join([heading, *lines, ""]))


KAFKA = Jars(
    "Kafka",
    "4.3.0",
    (
        "org.apache.kafka:kafka_2.13:4.3.0",
        "org.apache.kafka:kafka-clients:4.3.0",  # named, or an older one is mediated in
        "org.apache.kafka:kafka-tools:4.3.0",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",
        "org.apache.logging.log4j:log4j-core:2.25.1",
    ),
    megabytes=130,
)

CASSANDRA = Jars("Cassandra", "5.0.6", ("org.apache.cassandra:cassandra-all:5.0.6",), megabytes=80)


def _fetch_jar(context: "MavenContext", coordinate: str, digest: str) -> Path:
    """Return a jar, fetched if it is not there whole. The digest tells, and tells forgeries."""
    group, name, version = coordinate.split(":")
    artifact = context.project(group, name).at_version(version).artifact()
    jar: Path = artifact.resolve()
    if _digest(jar) != digest:  # the half of one that came when an earlier fetch was cut
        jar.unlink()
        jar = artifact.resolve()
    if _digest(jar) != digest:
        jar.unlink()
        raise RuntimeError(f"{coordinate} is not what it was when this version was made")
    return jar


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_lock(lock: Path) -> list[tuple[str, str]]:
    """Return the coordinate and the digest of each jar."""
    lines = lock.read_text().splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return [(coordinate, digest) for coordinate, digest in pairs]


def _context(repository: Path) -> "MavenContext":
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=repository)


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Let one process at a time make what the cache keeps."""
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield


def _progress(what: str) -> AbstractContextManager[Report]:
    return _bar(what) if sys.stderr.isatty() else _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("Fetching {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None, state="")

        def report(done: int, total: int, received: int) -> None:
            state = f"{done}/{total} jars, {received / 1e6:.0f} MB"
            progress.update(task, completed=done, total=total, state=state)

        yield report


@contextmanager
def _lines(what: str) -> Iterator[Report]:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - it is the display

    def report(done: int, total: int, received: int) -> None:
        if done % 20 == 0 or done == total:
            say(f"Fetching {what}: {done}/{total} jars, {received / 1e6:.0f} MB")

    say(f"Fetching {what}, this once")
    yield report


if __name__ == "__main__":
    for server in (KAFKA, CASSANDRA):
        server.write_lock()
