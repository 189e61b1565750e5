"""The shapes of what comes and goes: they check it, and are what the document tells of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from eventsourcing_kafka.consumer.views.fts.search import START, STOP
from eventsourcing_kafka.producer.contentmanagement.domainmodel import Page
from eventsourcing_kafka.producer.contentmanagement.limits import DEFAULT_LIMITS

ID = "0c8b6d3e-3f0a-5c37-9d0a-4f2a3f0b7c11"
USER = "7d3c1f2e-6a55-5b0e-8f0e-2b9a54a0d6c2"
WHEN = "2026-05-04T12:30:00.123456Z"
POSITION = "WzEyLCIwYzhiNmQzZTNmMGE1YzM3OWQwYTRmMmEzZjBiN2MxMSJd.Y2hlY2tlZA"

Id = Annotated[UUID, Field(description="Of the page. It stays.", examples=[ID])]
Slug = Annotated[
    str, Field(description="The name of the page in its address.", examples=["roses/red ones"])
]
Title = Annotated[str, Field(examples=["Roses & more"])]
Body = Annotated[str, Field(description="The text, in Markdown.", examples=["# Roses\n"])]
Version = Annotated[int, Field(description="How many changes the page has had.", examples=[3])]
Position = Annotated[
    str,
    Field(
        description="A token: what is read with it is, of this page, at least as new.",
        examples=[POSITION],
    ),
]
UserId = Annotated[
    UUID | None, Field(description="Of who changed it; null for nobody known.", examples=[USER])
]
When = Annotated[datetime, Field(examples=[WHEN])]
Kind = Annotated[
    str,
    Field(
        description="`Created`, `TitleUpdated`, `SlugUpdated` or `BodyUpdated`; more may come.",
        examples=["BodyUpdated"],
    ),
]
Next = Annotated[
    str | None,
    Field(description="The path of the next part; null if there is none.", examples=[None]),
]
GivenTitle = Annotated[
    str,
    Field(min_length=1, max_length=DEFAULT_LIMITS.title_chars, examples=["Roses & more"]),
]
GivenSlug = Annotated[
    str,
    Field(min_length=1, max_length=DEFAULT_LIMITS.slug_chars, examples=["roses/red ones"]),
]


class Given(BaseModel):
    """What a client sends. A member that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewPage(Given):
    """A page to be made. It has no text yet."""

    title: GivenTitle
    slug: GivenSlug


def _has_one(schema: dict[str, Any]) -> None:
    schema |= {"minProperties": 1, "maxProperties": 1}
    for member in schema["properties"].values():
        del member["default"]


class Change(Given):
    """Another body, title or slug of a page: one of them, for a change is one event."""

    model_config = ConfigDict(json_schema_extra=_has_one)

    body: Body = ""
    title: GivenTitle = ""
    slug: GivenSlug = ""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("give one of body, title and slug")
        return self

    @property
    def only(self) -> tuple[str, str]:
        """The name of what is to be changed, and what it is to be."""
        (name,) = self.model_fields_set
        return name, getattr(self, name)


class Answer(BaseModel):
    """What a client gets. It is made of what a view or the write model has."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Written(Answer):
    """What a command did."""

    id: Id
    slug: Slug
    version: Version
    position: Position


class PageRead(Answer):
    """A page, as the search view has it."""

    id: Id
    slug: Slug
    title: Title
    body: Body
    version: Version
    stale: Annotated[
        bool,
        Field(description="A change could not be applied yet: this is the page before it."),
    ]
    position: Position


class CurrentPage(Answer):
    """A page, as the write model has it."""

    id: Id
    slug: Slug
    title: Title
    body: Body
    version: Version

    @classmethod
    def of(cls, page: Page) -> Self:
        """Return a page as it is shown."""
        return cls.model_validate(page)


class EarlierPage(CurrentPage):
    """A page as it was."""

    modified_by: UserId


class ListedPage(Answer):
    """A page in the order of creation."""

    number: Annotated[int, Field(description="In the order of creation.", examples=[1])]
    id: Id
    slug: Slug
    title: Title


class Pages(Answer):
    """A part of the list of all pages."""

    pages: list[ListedPage]
    next: Next


class HistoricChange(Answer):
    """A change of a page."""

    version: Annotated[int, Field(description="Of the page after it.", examples=[3])]
    change: Kind
    user_id: UserId
    changed_at: When
    title: Annotated[str | None, Field(description="The new one.", examples=[None])] = None
    slug: Annotated[str | None, Field(description="The new one.", examples=[None])] = None
    diff: Annotated[
        str | None,
        Field(
            description="What was changed in the body, in the normal format of GNU diff.",
            examples=["1c1\n< rose\n---\n> # Roses\n"],
        ),
    ] = None

    @classmethod
    def of(cls, event: Page.Event) -> Self:
        """Return the change that an event has recorded."""
        new: dict[str, Any] = {
            name: getattr(event, name, None) for name in ("title", "slug", "diff")
        }
        return cls(
            version=event.originator_version,
            change=type(event).__name__,
            user_id=event.user_id,
            changed_at=event.changed_at,
            **new,
        )


class PageHistory(Answer):
    """A part of the history of a page, the latest change first."""

    changes: list[HistoricChange]
    next: Next


class RecentChange(Answer):
    """A change of some page."""

    changed_at: When
    user_id: UserId
    change: Kind
    version: Annotated[int, Field(description="Of the page after it.", examples=[3])]
    page_id: Id
    slug: Annotated[str | None, Field(description="As it is now.", examples=["roses/red ones"])]
    title: Annotated[str | None, Field(description="As it is now.", examples=["Roses & more"])]


class RecentChanges(Answer):
    """The latest changes, the latest first."""

    changes: list[RecentChange]


class Contributor(Answer):
    """Somebody, and how much he or she changed."""

    user_id: UserId
    edits: Annotated[int, Field(description="How many changes.", examples=[12])]
    first_at: When
    last_at: When


class Contributors(Answer):
    """Those who changed most, first."""

    contributors: list[Contributor]


class Matched(Answer):
    """Text, and where in it there is what was searched for."""

    text: Annotated[str, Field(examples=["a rose is red"])]
    matches: Annotated[
        list[tuple[int, int]],
        Field(
            description="Ranges of the text, each its first character and the one after its last, "
            "counted from 0 in Unicode code points.",
            examples=[[[2, 6]]],
        ),
    ]

    @classmethod
    def of(cls, marked: str) -> Self:
        """Return a text of which a search has marked parts."""
        text, matches, begin = "", list[tuple[int, int]](), None
        for character in marked:
            if character == START and begin is None:
                begin = len(text)
            elif character == STOP and begin is not None:
                matches.append((begin, len(text)))
                begin = None
            elif character not in (START, STOP):
                text += character
        return cls(text=text, matches=matches)


class Found(Answer):
    """A page that matches a search."""

    id: Id
    slug: Slug
    title: Matched
    snippet: Annotated[Matched, Field(description="Parts of the body.")]
    stale: Annotated[bool, Field(description="As of a page that is read.")]


class Results(Answer):
    """A part of what a search has found, the best first."""

    count: Annotated[
        int,
        Field(
            description="How many pages match; 1000 stands for that many or more. 0 where this "
            "part has none.",
            examples=[1],
        ),
    ]
    results: list[Found]
    next: Next


class ProblemDetails(BaseModel):
    """What is wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[
        str,
        Field(
            description="Which kind of problem it is: this stays as it is, and leads to its "
            "explanation.",
            examples=["/api#no-page"],
        ),
    ]
    title: Annotated[str, Field(examples=["There is no such page"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(examples=["There is no page 'rose'."])]


class Faulty(Answer):
    """Something that can't be taken."""

    at: Annotated[
        str,
        Field(
            description="A JSON pointer into the body, or the name of a parameter or header.",
            examples=["/title"],
        ),
    ]
    message: str


class InvalidDetails(ProblemDetails):
    """What is wrong with what was sent."""

    errors: list[Faulty] = []


class ConflictDetails(ProblemDetails):
    """Who else was first, and with what. The members are there if somebody changed the page."""

    current: CurrentPage | None = None
    yours: Annotated[dict[str, str] | None, Field(examples=[{"body": "# Roses\n"}])] = None
    diff: Annotated[
        str | None, Field(description="What your body would change, as in a history.")
    ] = None
