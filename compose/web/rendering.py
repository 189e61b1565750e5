"""What a browser is shown: templates, times, and text that anybody may have written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from eventsourcing_kafka.compose.web.auth.session import token_of, user_of
from eventsourcing_kafka.producer.runtime.printable import printable

HERE = Path(__file__).parent

UNSEEN = re.compile(
    "[\0-\b\v\f\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""What makes text look like another one: controls, reversed directions, spaces without width."""


def harmless(text: str) -> str:
    """Return text with a sign for each character that would make it look like another text."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def exact(moment: datetime) -> str:
    """Return a time to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
LONG_AGO = 30 * 86_400


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Return how long ago it was, in one number; the day, when it is long ago."""
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    if seconds >= LONG_AGO:
        return f"{moment.astimezone(UTC):%-d %B %Y}"
    for unit, size in UNITS:
        if count := max(0, seconds) // size:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def bounded(text: str, most: int = 300) -> str:
    """Return text that anybody may have written on one line, of so many characters at most."""
    line = printable(" ".join(text[: most + 1].split()))
    return line if len(text) <= most else f"{line[:most]}…"


class Site(NamedTuple):
    """What all pages of a server are a part of."""

    name: str
    layout: str
    """The template that all others extend."""
    cookie: str


environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters |= {"harmless": harmless, "exact": exact, "ago": ago, "bounded": bounded}
_templates = Jinja2Templates(env=environment)


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page made of a template."""
    site: Site = request.app.state.site
    context = {"user": user_of(request), "token": token_of(request), "site": site, **values}
    return _templates.TemplateResponse(request, f"{template}.html", context, status_code=status)


def render_fragment(template: str, **values: Any) -> str:
    """Return a part of a page made of a template; it is the same for everybody."""
    return environment.get_template(f"{template}.html").render(**values)
