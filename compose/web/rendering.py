"""What a browser is shown: templates, diffs, times, names, and what a search has found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from uuid import UUID

import jinja2
from anyio import to_thread
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from eventsourcing_kafka.compose.web.auth.session import token_of, user_of
from eventsourcing_kafka.compose.web.markdown import is_source, render_markdown
from eventsourcing_kafka.consumer.views.fts.search import START, STOP
from eventsourcing_kafka.producer.runtime.printable import printable

HERE = Path(__file__).parent

UNSEEN = re.compile(
    "[\0-\b\v\f\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""What makes text look like another one: controls, reversed directions, spaces without width."""

CHANGE_VERBS = {
    "Created": "made the page",
    "BodyUpdated": "changed the text",
    "TitleUpdated": "changed the title",
    "SlugUpdated": "changed the slug",
}


def harmless(text: str) -> str:
    """Return text with a sign for each character that would make it look like another text."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


LONG_BODY = 20_000
"""Characters of a text that take more than some milliseconds to be laid out."""


async def body_as_html(body: str, slug: str) -> Markup:
    """Return the text of a page as HTML."""
    if is_source(slug):
        return Markup('<pre class="source" tabindex="0">\n{}</pre>').format(harmless(body))
    if len(body) < LONG_BODY:
        return render_markdown(body, path_of(slug))
    # Meanwhile others are answered.
    return await to_thread.run_sync(render_markdown, body, path_of(slug))


def marked(found: str) -> Markup:
    """Return text with what a search has found in it marked."""
    text = escape(harmless(found))
    return Markup(  # noqa: S704 - it is escaped
        str(text).replace(START, "<mark>").replace(STOP, "</mark>")
    )


class DiffLine(NamedTuple):
    """A line of a diff."""

    kind: str
    """`removed`, `added`, or `place`: where the next ones are."""
    text: str
    """With its sign."""


KINDS = {"<": ("removed", "-"), ">": ("added", "+")}
PLACE = re.compile(r"[0-9,]+([acd])([0-9]+)(?:,([0-9]+))?")


def diff_lines(diff: str) -> Iterator[DiffLine]:
    """Yield the lines of a diff in the normal format, without what is between two sides."""
    for line in diff.removesuffix("\n").split("\n"):
        if place := PLACE.fullmatch(line):
            verb, first, last = place.groups()
            where = "after line" if verb == "d" else "lines" if last else "line"
            yield DiffLine("place", f"{where} {first}" + (f" to {last}" if last else ""))
        elif line[:1] in KINDS:
            kind, sign = KINDS[line[0]]
            yield DiffLine(kind, f"{sign} {harmless(line[2:])}")
        elif line.startswith("\\"):
            yield DiffLine("place", "without a newline at the end")


def path_of(slug: str, what: str = "wiki", **query: Any) -> str:
    """Return the path of a page, or of `what` there is about it."""
    path = f"/{what}/{quote(slug)}"
    if "\n" in slug or not {".", ".."}.isdisjoint(slug.split("/")):
        # Browsers would take these for steps in the path, and no route has more than a line.
        path, query = f"/{what}/", {"slug": slug, **query}
    return f"{path}?{urlencode(query)}" if query else path


def short(user_id: UUID | None) -> str:
    """Return a name for a user of whom only the ID is known."""
    return str(user_id)[:8] if user_id else "nobody"


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


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "rendered": render_markdown,
    "harmless": harmless,
    "marked": marked,
    "diff_lines": diff_lines,
    "path": path_of,
    "short": short,
    "exact": exact,
    "ago": ago,
    "verb": lambda change: CHANGE_VERBS.get(change, change),
    "bounded": bounded,
}
_templates = Jinja2Templates(env=_environment)


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page made of a template."""
    context = {"user": user_of(request), "token": token_of(request), **values}
    return _templates.TemplateResponse(request, f"{template}.html", context, status_code=status)


def render_fragment(template: str, **values: Any) -> str:
    """Return a part of a page made of a template; it is the same for everybody."""
    return _environment.get_template(f"{template}.html").render(**values)
