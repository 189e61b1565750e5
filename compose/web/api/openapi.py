"""What the document tells of answers besides their shapes: headers, and problems."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from eventsourcing_kafka.compose.web.api.problems import EVERYWHERE, LATER, MEDIA_TYPE, Problem

Header = Mapping[str, Any]


def _header(description: str) -> Header:
    return {"description": description, "schema": {"type": "string"}, "required": True}


ETAG = _header("The version of the page, to be sent with a change of it as `If-Match`.")
PLACE = _header("The path of the page.")
POSITION = _header("The token that is `position` in the answer.")
AGAIN = _header("Seconds to wait.")

DETAILS = {409: "ConflictDetails", 422: "InvalidDetails"}
"""Which schema the problems of a status have, where it is not `ProblemDetails`."""


def problems(*kinds: Problem) -> dict[int | str, dict[str, Any]]:
    """Return the answers of an operation that tell of problems, for the document."""
    by_status = attrgetter("status")
    told = sorted(dict.fromkeys([*kinds, *EVERYWHERE]), key=by_status)
    return {status: _told(status, list(same)) for status, same in groupby(told, by_status)}


def _told(status: int, kinds: list[Problem]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{DETAILS.get(status, 'ProblemDetails')}"}
    examples = {
        kind.code: {
            "value": {
                "type": kind.type,
                "title": kind.title,
                "status": status,
                "detail": kind.advice,
            }
        }
        for kind in kinds
    }
    return {
        "description": " ".join(f"{kind.title}. {kind.advice}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
        **({"headers": {"Retry-After": AGAIN}} if status in LATER else {}),
    }


def tagged(version: int, *, stale: bool = False) -> str:
    """Return the entity tag of a page at a version."""
    return f'"{version}-stale"' if stale else f'"{version}"'
