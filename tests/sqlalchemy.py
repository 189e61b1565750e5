"""Settings of what stores through SQLAlchemy."""

from collections.abc import Mapping

from eventsourcing.utils import Environment
from eventsourcing_sqlalchemy import factory
from sqlalchemy import URL

from eventsourcing_kafka.producer.runtime.sqlalchemy import engine_of

MODULE = __name__
"""The library's own module, but for its connections, which that leaves open at the end."""


class Factory(factory.SQLAlchemyFactory):
    """The library's own, which closes its connections."""

    def close(self) -> None:
        super().close()
        engine_of(self.datastore).dispose()


def url_of(settings: Mapping[str, str], name: str = "ContentManagement") -> str:
    """Return the URL of the database that the library's own settings of an application name."""
    env = Environment(name, dict(settings))
    url = URL.create(
        "postgresql+psycopg",
        host=env["POSTGRES_HOST"],
        port=int(env["POSTGRES_PORT"]),
        username=env["POSTGRES_USER"],
        password=env["POSTGRES_PASSWORD"],
        database=env.get("POSTGRES_DBNAME"),
    )
    return url.render_as_string(hide_password=False)
