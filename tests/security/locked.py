"""A broker and a database server behind TLS, passwords and rights; and who may go in."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import psycopg
import trustme
from anyio import to_thread
from cryptography.hazmat.primitives import serialization
from psycopg import sql

from eventsourcing_kafka.compose.security.grants import acls, grants
from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.kafka_client import client_properties
from eventsourcing_kafka.compose.servers.postgres import Postgres
from eventsourcing_kafka.compose.servers.processes import HOST, free_port
from eventsourcing_kafka.compose.stack.sample import APPLICATION
from eventsourcing_kafka.consumer.views.registry import views_named
from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.testing.plugin import NOT_DURABLE, QUICK_TO_GIVE_UP
from tests.pipeline import ROOT

from .tls import behind_tls

PASSWORD = 'to "quote" = \\ ü'
"""Of everybody in Postgres, with what is hard to hand on."""

PASSWORD_IN_KAFKA = "kafka-password"
"""The tool that makes a cluster takes no other characters for its first users."""

WRITER, RELAY = "contentmanagement_writer", "contentmanagement_relay"
HISTORY = "contentmanagement_history"
ROLES = (WRITER, RELAY, HISTORY, "fts", "fts_reader", "activity", "activity_reader")
ADMIN, BROKER = "admin", "broker"
PLAIN_USER, PLAIN_PASSWORD = "plain", "plain-password"

DATABASES = ("contentmanagement", "fts", "activity")

_LOGIN = "org.apache.kafka.common.security"
_LISTENERS = {"CLIENT": "SASL_SSL", "CERT": "SSL", "CONTROLLER": "SSL"}
_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER")


class Certificates:
    """Files of an authority, and of whom it knows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.authority = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))

    def of(self, name: str, *identities: str) -> tuple[Path, Path]:
        """Issue a certificate; return the files of it and of its key."""
        issued = self._authority.issue_cert(*identities, common_name=name)
        chain, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(_pkcs8(issued.private_key_pem.bytes()))
        key.chmod(0o600)
        return chain, key


def _pkcs8(pem: bytes) -> bytes:
    """Return a key in the one form that Java reads."""
    key = serialization.load_pem_private_key(pem, None)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def locked_kafka(folder: Path, certificates: Certificates) -> Kafka:
    """Return a broker that lets nobody in without TLS and a name, and to nothing without a right.

    Its first listener takes passwords and tokens, its second one certificates.
    """
    chain, key = certificates.of(BROKER, HOST)
    store = folder / "broker.pem"
    store.write_bytes(key.read_bytes() + chain.read_bytes())
    ports = {name: free_port() for name in _LISTENERS}
    known = dict.fromkeys((*ROLES, ADMIN, BROKER), PASSWORD_IN_KAFKA)
    jaas = {
        "scram-sha-512": (
            f'{_LOGIN}.scram.ScramLoginModule required username="{BROKER}" '
            f'password="{PASSWORD_IN_KAFKA}";'
        ),
        "scram-sha-256": f"{_LOGIN}.scram.ScramLoginModule required;",
        "plain": f'{_LOGIN}.plain.PlainLoginModule required user_{PLAIN_USER}="{PLAIN_PASSWORD}";',
        "oauthbearer": (
            f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required "
            f'unsecuredLoginStringClaim_sub="{BROKER}";'
        ),
    }
    properties = {
        **QUICK_TO_GIVE_UP,
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(
            f"{name}://{HOST}:{port}" for name, port in ports.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in _LISTENERS.items()
        ),
        "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        **{f"listener.name.client.{name}.sasl.jaas.config": text for name, text in jaas.items()},
        "listener.name.cert.ssl.client.auth": "required",
        "listener.name.controller.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.authority),
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:{BROKER}",
    }
    return Kafka(
        folder / "kafka",
        port=ports["CLIENT"],
        voters={1: ports["CONTROLLER"]},
        properties=properties,
        scram=known,
    )


@dataclass
class Locked:
    """Both servers, prepared as `compose grants` says, and the settings of each role."""

    folder: Path
    certificates: Certificates
    kafka: Kafka
    postgres: Postgres
    postgres_port: int
    """Where it is behind TLS."""

    @property
    def common(self) -> dict[str, str]:
        """The settings that all have."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SSL_CAFILE": str(self.certificates.authority),
            "KAFKA_TOPIC_PARTITIONS": "2",
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self.certificates.authority),
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_HOST": HOST,
            "POSTGRES_PORT": str(self.postgres_port),
            "CREATE_TABLE": "no",
            "APPLICATION_TOPIC": APPLICATION,
            **{f"{name.upper()}_POSTGRES_DBNAME": name for name in DATABASES},
        }

    def settings(self, role: str) -> dict[str, str]:
        """Return the settings of a role: its secrets are in files."""
        return {
            **self.common,
            "KAFKA_SASL_USERNAME": role,
            "KAFKA_SASL_PASSWORD_FILE": self.file("kafka-password", PASSWORD_IN_KAFKA),
            "POSTGRES_USER": role,
            "POSTGRES_PASSWORD_FILE": self.file("postgres-password", PASSWORD),
        }

    @property
    def by_certificate(self) -> str:
        """The address of the listener that takes certificates for names."""
        return self.kafka.properties["advertised.listeners"].rpartition("//")[2]

    @property
    def owners(self) -> dict[str, str]:
        """The settings of who owns everything."""
        owner = {"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": self.postgres.password}
        return {
            **self.settings(ADMIN),
            **owner,
            "POSTGRES_PASSWORD_FILE": "",
            "CREATE_TABLE": "yes",
        }

    def file(self, name: str, text: str) -> str:
        """Write a file of secrets, which somebody may be reading."""
        path, new = self.folder / name, self.folder / f"{name}.new"
        new.write_text(f"{text}\n")
        return str(new.replace(path))

    async def prepare(self) -> None:
        """Do what an operator does once."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._prepare_kafka)
            tasks.start_soon(self._prepare_postgres)

    async def _prepare_kafka(self) -> None:
        key = self.folder / "admin.properties"
        properties = client_properties(KafkaSettings.from_env(self.owners))
        key.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        async with anyio.create_task_group() as tasks:
            for acl in acls(ContentManagement, views_named(), self.owners):
                arguments = ("--command-config", str(key), *acl.arguments())
                tasks.start_soon(partial(self.kafka.tool, "acls", *arguments))

    async def _prepare_postgres(self) -> None:
        for database in DATABASES:
            await self.postgres.create_database(database)
        await to_thread.run_sync(self._make_events_table)
        for grant in grants(ContentManagement, views_named(), self.owners):
            await self.execute(grant.database, grant.statement)
        for role in ROLES:
            alter = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), PASSWORD)
            await self.execute("postgres", alter)

    def _make_events_table(self) -> None:
        ContentManagement(self.owners).close()

    async def execute(self, database: str, statement: sql.Composed) -> None:
        """Execute a statement as the superuser."""
        dsn = self.postgres.dsn(database)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(statement)


async def run(command: str, environment: Mapping[str, str]) -> str:
    """Run a command line of ours, and return what it prints."""
    path = os.pathsep.join([str(ROOT / ".venv/bin"), os.environ["PATH"]])
    done = await anyio.run_process(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, **environment, "PATH": path},
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done.stdout.decode()


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[Locked]:
    """Start both servers, and prepare them."""
    certificates = Certificates(folder)
    kafka = locked_kafka(folder, certificates)
    postgres = Postgres(folder / "postgres", settings=NOT_DURABLE)
    async with kafka, postgres, behind_tls(postgres.port, *certificates.of("db", HOST)) as port:
        stack = Locked(folder, certificates, kafka, postgres, port)
        await stack.prepare()
        yield stack
