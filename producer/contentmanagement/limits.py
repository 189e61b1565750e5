"""What a page may hold, so that every event of it can be carried to every view.

Kafka refuses records over 1 MB, Postgres refuses NUL characters, and UTF-8 has no
encoding for lone surrogates. A command refuses them here, before anything is recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import msgspec


class InvalidPageError(ValueError):
    """A page's title, slug or body can't be carried; the message says what to change."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        """`title`, `slug` or `body`."""
        super().__init__(message)


@dataclass(frozen=True)
class Limits:
    """The largest sizes accepted."""

    title_chars: int = 512
    slug_chars: int = 512
    body_bytes: int = 400_000
    """Bytes of UTF-8; small enough that a diff between two bodies of prose fits an event."""
    diff_bytes: int = 1_000_000
    """Bytes of JSON, as it travels: escaping makes six bytes of a control character."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read `MAX_BODY_BYTES` and `MAX_DIFF_BYTES` from an application's settings.

        Raises `ValueError` for a setting that is not a positive whole number.
        """
        return cls(
            body_bytes=_positive(env, "MAX_BODY_BYTES", cls.body_bytes),
            diff_bytes=_positive(env, "MAX_DIFF_BYTES", cls.diff_bytes),
        )

    def check_title(self, title: str) -> None:
        """Raise `InvalidPageError` unless the title can be carried."""
        _check_name("title", title, self.title_chars)

    def check_slug(self, slug: str) -> None:
        """Raise `InvalidPageError` unless the slug can be carried."""
        _check_name("slug", slug, self.slug_chars)

    def check_body(self, body: str) -> None:
        """Raise `InvalidPageError` unless the body, and its removal, can be carried."""
        size = len(_utf8("body", body))
        if size > self.body_bytes:
            raise InvalidPageError(
                "body",
                f"the body has {size:,} bytes of UTF-8, more than {self.body_bytes:,}: "
                "shorten it, or split it into several pages",
            )
        # A diff that adds or removes the whole body: two bytes mark each line, a command
        # comes before them, and the notice of a missing last newline may come after.
        lines = body.count("\n") + 1
        size = len(msgspec.json.encode(body)) + 2 * lines + 64
        if size > self.diff_bytes:
            raise InvalidPageError(
                "body",
                f"the body takes {size:,} bytes as a diff in JSON, more than "
                f"{self.diff_bytes:,}: shorten it, or split it into several pages",
            )

    def check_diff(self, diff: str) -> None:
        """Raise `InvalidPageError` unless the diff between two bodies fits into one event.

        Emptying a body and filling an empty one always fits: `check_body` sees to it.
        """
        size = len(msgspec.json.encode(diff))
        if size > self.diff_bytes:
            raise InvalidPageError(
                "body",
                f"the change takes {size:,} bytes as a diff in JSON, more than "
                f"{self.diff_bytes:,}: empty the body first, then fill it",
            )


DEFAULT_LIMITS = Limits()


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    setting = env.get(name) or str(default)
    if not setting.isdecimal() or int(setting) == 0:
        raise ValueError(f"{name} must be a positive whole number, not {setting!r}")
    return int(setting)


def _check_name(what: str, name: str, most_chars: int) -> None:
    _utf8(what, name)
    if not name.strip():
        raise InvalidPageError(what, f"the {what} is empty: give the page one")
    if len(name) > most_chars:
        raise InvalidPageError(
            what, f"the {what} has {len(name):,} characters, more than {most_chars:,}: shorten it"
        )


def _utf8(what: str, text: str) -> bytes:
    """Encode a text, refusing the characters that can't be carried."""
    if (at := text.find("\0")) >= 0:
        raise InvalidPageError(what, f"the {what} has a NUL character at {at:,}: remove it")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidPageError(
            what, f"the {what} has a lone surrogate at {error.start:,}: remove or repair it"
        ) from None
