"""What a browser is shown of the wiki: pages, diffs, names, and what a search has found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from uuid import UUID

from anyio import to_thread
from markupsafe import Markup, escape

from eventsourcing_kafka.compose.web.markdown import is_source, render_markdown
from eventsourcing_kafka.compose.web.rendering import environment, harmless
from eventsourcing_kafka.consumer.views.fts.search import START, STOP

CHANGE_VERBS = {
    "Created": "made the page",
    "BodyUpdated": "changed the text",
    "TitleUpdated": "changed the title",
    "SlugUpdated": "changed the slug",
}


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


environment.filters |= {
    "rendered": render_markdown,
    "marked": marked,
    "diff_lines": diff_lines,
    "path": path_of,
    "short": short,
    "verb": lambda change: CHANGE_VERBS.get(change, change),
}
