"""The text of a page as HTML: Markdown without anything that acts, or source as it is."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup

Env = MutableMapping[str, Any]

SOURCE = re.compile(
    r"\.(c|cfg|conf|cpp|css|csv|go|h|html|ini|java|jsonl?|lock|log|m?js|properties|ps1|py|rb|rs|sh"
    r"|sql|svg|tf|toml|tsv?|txt|xml|ya?ml)",
    re.IGNORECASE,
)
"""Pages whose slugs end so, as those of an imported repository may, hold source, not Markdown."""

LOWEST_HEADING = 6

CACHED, MAX_CACHED_CHARS = 500, 20_000
"""What so many texts have become is kept, of those that have so many characters at most."""


def render_markdown(body: str, path: str = "/wiki/") -> Markup:
    """Return the Markdown of the page at a path as HTML without anything that acts."""
    return (_cached if len(body) <= MAX_CACHED_CHARS else _render)(body, path)


def _render(body: str, path: str) -> Markup:
    html = _markdown.render(body, {"path": path, "in_link": False})
    # Sanitised though no HTML of the body comes through: two doors, each locked.
    return Markup(  # noqa: S704 - nh3 has cleaned it
        nh3.clean(
            html,
            tags=nh3.ALLOWED_TAGS - {"img"},
            attributes={**nh3.ALLOWED_ATTRIBUTES, "div": {"tabindex"}, "pre": {"tabindex"}},
            allowed_classes={"div": {"wide"}},
            url_schemes={"http", "https", "mailto"},
            link_rel="nofollow noopener",
        )
    )


_cached = lru_cache(CACHED)(_render)


def is_source(slug: str) -> bool:
    """Tell whether a page is to be shown as it is, by the end of its slug."""
    return SOURCE.fullmatch(PurePosixPath(slug).suffix) is not None


def _lowered(
    _renderer: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: Env
) -> str:
    """Put a heading below the one of the page."""
    level = min(int(tokens[at].tag[1:]) + 1, LOWEST_HEADING)
    return f"<h{level}>" if tokens[at].nesting > 0 else f"</h{level}>\n"


def _link(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Env
) -> str:
    """Have a link to a page beside this one lead there, from whatever shows this one."""
    env["in_link"] = tokens[at].nesting > 0
    if env["in_link"]:
        _resolve(tokens[at], "href", env)
    return renderer.renderToken(tokens, at, options, env)


def _picture(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: Env
) -> str:
    """Show where a picture is: nothing is fetched from elsewhere, and there are none here."""
    token = tokens[at]
    alt = renderer.renderInlineAsText(token.children or [], options, env) or "picture"
    if env["in_link"]:
        return str(Markup.escape(alt))
    _resolve(token, "src", env)
    return Markup('<a href="{}">{}</a>').format(token.attrGet("src"), alt)


def _resolve(token: Token, name: str, env: Env) -> None:
    try:
        token.attrSet(name, urljoin(env["path"], str(token.attrGet(name))))
    except ValueError:  # What is no address stays as it is, and leads nowhere.
        return


def _block(
    _renderer: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: Env
) -> str:
    """Let the keyboard scroll what is wider than a screen."""
    return Markup('<pre tabindex="0"><code>{}</code></pre>\n').format(tokens[at].content)


def _table(
    _renderer: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: Env
) -> str:
    opening = tokens[at].nesting > 0
    return '<div class="wide" tabindex="0"><table>\n' if opening else "</table></div>\n"


_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
for _rule, _shown in {
    "heading_open": _lowered,
    "heading_close": _lowered,
    "link_open": _link,
    "link_close": _link,
    "image": _picture,
    "fence": _block,
    "code_block": _block,
    "table_open": _table,
    "table_close": _table,
}.items():
    _markdown.add_render_rule(_rule, _shown)
