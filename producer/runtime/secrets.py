"""Passwords and the like: out of a variable, or out of a file that a variable names.

A file is read each time a connection needs it, so that a password can be changed while a process
runs. What was read is shown nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from eventsourcing.utils import register_topic

from eventsourcing_kafka.producer.runtime.errors import SettingsError

FILE = "_FILE"
POSTGRES_PASSWORD = "POSTGRES_PASSWORD"  # noqa: S105 - the name of a variable
GET_PASSWORD_TOPIC = "POSTGRES_GET_PASSWORD_TOPIC"  # noqa: S105 - likewise


@dataclass(frozen=True)
class Secret:
    """A secret: the text of `variable`, or the file at `path` that `variable` + `_FILE` names."""

    variable: str
    text: str = field(default="", repr=False)
    path: str = ""

    @classmethod
    def from_env(cls, variable: str, env: Mapping[str, str]) -> Self | None:
        """Find a secret in `variable`, or in the file named by `variable` + `_FILE`.

        Raises `SettingsError` if both are set.
        """
        text, path = env.get(variable, ""), env.get(variable + FILE, "")
        if text and path:
            raise SettingsError(f"{variable} and {variable}{FILE} are both set: unset one of them.")
        return cls(variable, text, path) if text or path else None

    def __call__(self) -> str:
        """Return it, as its file has it now. Raises `SettingsError` if that has none."""
        if not self.path:
            return self.text
        try:
            text = Path(self.path).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(
                f"{self.variable}{FILE} names {self.path!r}, which can't be read: {reason}. "
                "Name a file that this process may read, with nothing but the secret in it."
            ) from None
        if not text:
            raise SettingsError(
                f"{self.variable}{FILE} names {self.path!r}, which is empty: put the secret in it."
            )
        return text


def with_password_files(env: Mapping[str, str]) -> dict[str, str]:
    """Return settings of the library's that have it read Postgres passwords from files.

    `POSTGRES_PASSWORD_FILE` may be prefixed with the name of an application or a view, as the
    library's own variables are. Raises `SettingsError` if both a password and a file are set with
    the same prefix, and for a file that has none.
    """
    settings = dict(env)
    for variable in {name.removesuffix(FILE) for name in env}:
        prefix = variable.removesuffix(POSTGRES_PASSWORD)
        if not variable.endswith(POSTGRES_PASSWORD) or (prefix and not prefix.endswith("_")):
            continue
        secret = Secret.from_env(variable, env)
        if secret and secret.path:
            secret()  # A pool would try again and again, and then say that time is up.
            topic = f"{variable}{FILE}={secret.path}"
            register_topic(topic, secret)
            settings[prefix + GET_PASSWORD_TOPIC] = topic
        elif secret and prefix and env.get(POSTGRES_PASSWORD + FILE):
            settings[prefix + GET_PASSWORD_TOPIC] = ""  # It goes before the file for all.
    return settings
