"""What a browser is shown: templates, Markdown, diffs, and what a search has found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import jinja2
import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from compose.web.acting.session import token_of, user_of
from consumer.fts.search import START, STOP

HERE = Path(__file__).parent

_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def rendered(body: str) -> Markup:
    """Return the Markdown of a page as HTML without anything that acts."""
    # Sanitised though no HTML of the body comes through: two doors, each locked.
    return Markup(nh3.clean(_markdown.render(body)))  # noqa: S704 - nh3 has cleaned it


def marked(found: str) -> Markup:
    """Return text with what a search has found in it marked."""
    text = escape(found)
    return Markup(  # noqa: S704 - it is escaped
        str(text).replace(START, "<mark>").replace(STOP, "</mark>")
    )


class DiffLine(NamedTuple):
    """A line of a diff."""

    kind: str
    """`removed`, `added` or `place`."""
    text: str


KINDS = {"<": "removed", ">": "added"}


def diff_lines(diff: str) -> Iterator[DiffLine]:
    """Yield the lines of a diff in the normal format, without what is between two sides."""
    for line in diff.split("\n"):
        if line and line != "---":
            yield DiffLine(KINDS.get(line[0], "place"), line)


def path_of(slug: str, what: str = "wiki") -> str:
    """Return the path of a page, or of `what` there is about it."""
    return f"/{what}/{quote(slug, safe='')}"


def short(user_id: UUID | None) -> str:
    """Return a name for a user of whom only the ID is known."""
    return str(user_id)[:8] if user_id else "nobody"


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "rendered": rendered,
    "marked": marked,
    "diff_lines": diff_lines,
    "path": path_of,
    "short": short,
}
_templates = Jinja2Templates(env=_environment)


def page(request: Request, template: str, *, status: int = 200, **shown: Any) -> Response:
    """Return a page made of a template."""
    context = {"user": user_of(request), "token": token_of(request), **shown}
    return _templates.TemplateResponse(request, f"{template}.html", context, status_code=status)
