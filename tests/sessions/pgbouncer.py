"""PgBouncer before a Postgres, where it is installed."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import HOST, free_port

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
NEEDED = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")


@contextmanager
def pgbouncer(postgres: Postgres, folder: Path, mode: str) -> Iterator[int]:
    """Run one that pools sessions, or transactions, with its defaults; yield its port."""
    port = free_port()
    settings = folder / f"{mode}.ini"
    settings.write_text(
        f"""
[databases]
* = host={HOST} port={postgres.port} user=postgres password={postgres.password}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
"""
    )
    for path in (settings, folder, *folder.parents):
        if path.owner() == settings.owner():
            path.chmod(path.stat().st_mode | 0o055)
    assert PROGRAM
    # It refuses to be root.
    user = ["-u", "nobody"] if settings.owner() == "root" else []
    process = subprocess.Popen([PROGRAM, "-q", *user, settings])
    try:
        _answers(port)
        yield port
    finally:
        process.kill()
        process.wait()


@retry(stop=stop_after_delay(10), wait=wait_fixed(0.05), reraise=True)
def _answers(port: int) -> None:
    psycopg.connect(host=HOST, port=port, dbname="postgres", user="postgres").close()
