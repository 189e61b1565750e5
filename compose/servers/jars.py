"""Kafka's jars, fetched once and kept in the user's cache folder.

`kafka.lock` beside this file names each jar and its digest, so what is fetched is the same
for everyone. The manifest, a list of the jars in the cache, is written last and in one
step: jars without a manifest are a download that was cut, and jars with one are whole. A
later start reads the manifest and nothing else, so it needs no network.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from eventsourcing_kafka.compose.servers.errors import StackError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

VERSION = "4.3.0"
"""The version of Kafka that is run."""

_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{VERSION}",
    f"org.apache.kafka:kafka-clients:{VERSION}",  # named, or an older one is mediated in
    f"org.apache.kafka:kafka-tools:{VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",
    "org.apache.logging.log4j:log4j-core:2.25.1",
)

LOCK = Path(__file__).with_name("kafka.lock")

_CONNECTIONS = 8  # jars fetched at a time

Report = Callable[[int, int, int], None]
"""Told how many jars are there, how many there will be, and how many bytes have come."""


def cache() -> Path:
    """Return the folder that keeps the jars: `EVENTSOURCING_KAFKA_CACHE`, or the user's own."""
    chosen = os.environ.get("EVENTSOURCING_KAFKA_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("eventsourcing-kafka")


def classpath(lock: Path = LOCK) -> str:
    """Return the Java class path of Kafka, after fetching the jars if they are not there yet.

    Blocks while it fetches, and while another process does. Raises StackError when the
    jars can't be fetched or kept; what has come so far is kept for the next try.
    """
    folder = cache()
    try:
        jars = _kept(folder)
        if jars is None:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / "lock"):
                jars = _kept(folder) or _fetch(folder, lock)
    except (OSError, RuntimeError) as error:
        raise StackError(
            f"Kafka {VERSION} could not be fetched into {folder}: {error}\n"
            "The first start needs the network and 130 MB of disk; later ones do not."
            " Start again when they are there: what has come so far is kept."
        ) from error
    return os.pathsep.join(map(str, jars))


def _manifest(folder: Path) -> Path:
    return folder / f"kafka-{VERSION}.jars"


def _kept(folder: Path) -> list[Path] | None:
    """Return the jars of a whole earlier download."""
    try:
        names = _manifest(folder).read_text().splitlines()
    except FileNotFoundError:
        return None
    jars = [folder / name for name in names]
    return jars if all(jar.exists() for jar in jars) else None


def _fetch(folder: Path, lock: Path) -> list[Path]:
    jars_of_lock = _read_lock(lock)
    context = _context(folder / "repository")
    jars: list[Path] = []
    received = 0
    with _progress() as report, ThreadPoolExecutor(_CONNECTIONS) as pool:
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
    whole = _manifest(folder).with_suffix(".new")
    whole.write_text("".join(f"{jar.relative_to(folder)}\n" for jar in jars))
    whole.replace(_manifest(folder))
    return jars


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


def write_lock() -> None:
    """Look up anew which jars Kafka needs; for the one who changes its version."""
    from jgo.parse import Endpoint

    context = _context(cache() / "repository")
    wanted = [
        context.create_dependency(replace(coordinate, scope="compile"))
        for coordinate in Endpoint.parse("+".join(_COORDINATES)).coordinates
    ]
    named, followed = context.resolver.resolve(wanted)
    needed = [d.artifact for d in (*named, *followed) if d.scope in {"compile", "runtime"}]
    lines = sorted(
        f"{jar.groupId}:{jar.artifactId}:{jar.version} {_digest(jar.resolve())}" for jar in needed
    )
    heading = f"# The jars that Kafka needs: written by `python -m {__spec__.name}`."
    LOCK.write_text("\n".join([heading, *lines, ""]))


def _context(repository: Path) -> "MavenContext":
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=repository)


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Let one process at a time make what the cache keeps."""
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield


def _progress() -> AbstractContextManager[Report]:
    return _bar() if sys.stderr.isatty() else _lines()


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("Fetching Kafka {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(VERSION, total=None, state="")

        def report(done: int, total: int, received: int) -> None:
            state = f"{done}/{total} jars, {received / 1e6:.0f} MB"
            progress.update(task, completed=done, total=total, state=state)

        yield report


@contextmanager
def _lines() -> Iterator[Report]:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - it is the display

    def report(done: int, total: int, received: int) -> None:
        if done % 20 == 0 or done == total:
            say(f"Fetching Kafka {VERSION}: {done}/{total} jars, {received / 1e6:.0f} MB")

    say(f"Fetching Kafka {VERSION}, this once")
    yield report


if __name__ == "__main__":
    write_lock()
