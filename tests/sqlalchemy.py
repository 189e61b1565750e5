"""Settings of what stores through SQLAlchemy."""

from collections.abc import Mapping
from typing import Any

from eventsourcing.utils import Environment
from eventsourcing_sqlalchemy import factory
from eventsourcing_sqlalchemy.datastore import SQLAlchemyDatastore
from sqlalchemy import URL, NullPool

MODULE = __name__
"""The library's own module, but for its pool: that leaves connections open at the end."""


class Datastore(SQLAlchemyDatastore):
    """Closes each connection when it is given back."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, poolclass=NullPool)


class Factory(factory.SQLAlchemyFactory):
    """The library's own, with that datastore."""

    datastore_class = Datastore


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
