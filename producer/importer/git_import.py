"""The import itself: commits into drafts, drafts into the wiki, again and again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.persistence import IntegrityError

from eventsourcing_kafka.producer.contentmanagement.application import ContentManagement
from eventsourcing_kafka.producer.contentmanagement.domainmodel import (
    occurred_at_cvar,
    user_id_cvar,
)
from eventsourcing_kafka.producer.contentmanagement.limits import InvalidPageError
from eventsourcing_kafka.producer.contentmanagement.people import People
from eventsourcing_kafka.producer.importer.commits import Author
from eventsourcing_kafka.producer.importer.drafts import Drafts, PageOfOthersError
from eventsourcing_kafka.producer.importer.history import (
    FileChange,
    History,
    UnfitFileError,
    UnreadableCommitError,
)
from eventsourcing_kafka.producer.importer.record import CREATED_TOPICS, GitImport

COMMITS_PER_SAVE = 100
EVENTS_PER_SAVE = 250
CHARS_PER_SAVE = 200_000
"""Of diffs. The library inserts in psycopg's pipeline mode, which may wait for ever when
one insert is larger than what the socket takes at once (some hundred kilobytes)."""


MOST_IMPORTS = 10_000
"""Of histories into one wiki."""


class ImportRefusedError(Exception):
    """This history can't be imported into this wiki; the message says why."""


class ImportConflictError(Exception):
    """The wiki was changed by someone else meanwhile: import again, nothing is lost."""


@dataclass
class Report:
    """What an import did."""

    commits: int = 0
    """Commits that this run imported."""
    events: int = 0
    """Events that this run saved, of pages, slugs and the log of pages."""
    skipped: dict[str, str] = field(default_factory=dict)
    """By path: why a version of the file was left out, so that its page stayed as it was."""
    malformed: dict[str, str] = field(default_factory=dict)
    """By commit: what of it can't be read, and is therefore not in the wiki."""


class GitImporter:
    """Imports what is new in a history, in order, and remembers how far it has come."""

    def __init__(
        self,
        app: ContentManagement,
        history: History,
        include: Sequence[str] = (),
        *,
        prefix: str = "",
        commits_per_save: int = COMMITS_PER_SAVE,
        events_per_save: int = EVENTS_PER_SAVE,
    ) -> None:
        """Find out what there is to import.

        `include` are globs, whose `*` matches any part of a path; none means all files. `prefix`
        is a folder for the pages. It saves as soon as there are so many commits or events to save.
        Raises `ImportRefusedError` or `HistoryError`.
        """
        self._history = history
        self._commits_per_save = commits_per_save
        self._events_per_save = events_per_save
        self._include = sorted(set(include))
        self._prefix = prefix.strip("/")
        self._people = People(app)
        self._authors: dict[UUID, str] = {}
        self._named: dict[UUID, str] = {}
        self._limits = app.limits
        begun = _imports_into(app)
        self._records = self._find_records(begun)
        self._record = self._records[0]
        self._drafts = Drafts(app, self._record.created_on, self._reserved(begun))
        self._last_commit: str | None = None
        self._unsaved_commits = 0
        self.remaining = self._find_remaining()
        """The commits to import, in order."""
        self.report = Report()

    def run(self, limit: int | None = None, progress: Callable[[], None] = lambda: None) -> Report:
        """Import the commits that remain, or the first `limit` of them.

        `progress` is called after each commit. An import may be interrupted at any point
        and repeated with a new importer. Raises `ImportConflictError` or `HistoryError`.
        """
        for commit_id in self.remaining[:limit]:
            self._import(commit_id)
            self._last_commit = commit_id
            self._unsaved_commits += 1
            self._save_if_full()
            progress()
        if self._unsaved_commits:
            self._save()
        return self.report

    def _import(self, commit_id: str) -> None:
        with self._by_author(commit_id):
            try:
                for change in self._history.changes(commit_id):
                    self._write(change)
                    # A commit of any size has to fit into memory and a transaction, so it may
                    # be saved in parts. A part written again changes nothing.
                    self._save_if_full()
            except UnreadableCommitError as error:
                self.report.malformed[commit_id] = str(error)

    @contextmanager
    def _by_author(self, commit_id: str) -> Iterator[None]:
        """Have what is recorded meanwhile be of a commit's author, and of the commit's time."""
        author = self._history.author(commit_id)
        user_id = None
        if author is None:
            self.report.malformed[commit_id] = "it names no author by an e-mail address"
        else:
            user_id = user_id_of(author)
            self._authors[user_id] = author.name
            if author.at is None:
                self.report.malformed[commit_id] = "it has no date that there can be"
        user_token = user_id_cvar.set(user_id)
        time_token = occurred_at_cvar.set(author and author.at)
        try:
            yield
        finally:
            occurred_at_cvar.reset(time_token)
            user_id_cvar.reset(user_token)

    def _write(self, change: FileChange) -> None:
        if not self._includes(change.path):
            return
        slug = self._slug(change.path)
        try:
            self._limits.check_slug(slug)
        except InvalidPageError:
            self.report.skipped[change.path] = "path unfit for a slug"
            return
        if change.moved_from is not None:
            self._drafts.move(self._slug(change.moved_from), slug)
        if change.obstacle is not None:
            self.report.skipped[change.path] = change.obstacle
        if change.blob_id is None:
            self._drafts.empty(slug)
            return
        try:
            text = self._history.text(change.blob_id, self._limits.body_bytes)
            self._drafts.write(slug, text)
        except PageOfOthersError:
            self.report.skipped[change.path] = "the wiki had a page of that name before"
        except UnfitFileError as error:
            self.report.skipped[change.path] = str(error)
        except InvalidPageError:
            self.report.skipped[change.path] = "over-long"

    def _slug(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _includes(self, path: str) -> bool:
        return not self._include or any(fnmatchcase(path, glob) for glob in self._include)

    def _save_if_full(self) -> None:
        if (
            self._unsaved_commits >= self._commits_per_save
            or self._drafts.pending >= self._events_per_save
            or self._drafts.pending_chars >= CHARS_PER_SAVE
        ):
            self._save()

    def _save(self) -> None:
        """Save the drafts, and with them the last commit that they hold completely."""
        if self._last_commit is not None:
            self._record.advance(self._history.tip, self._last_commit)
        events = self._drafts.pending
        try:
            self._drafts.save(self._record)
        except IntegrityError as error:
            raise ImportConflictError(
                "the wiki was changed meanwhile, by another import or an edit: "
                "run the import again, it goes on where it stopped"
            ) from error
        self._remember_authors()
        self.report.events += events
        self.report.commits += self._unsaved_commits
        self._unsaved_commits = 0

    def _remember_authors(self) -> None:
        """Save the names of new authors, before the wiki shows what they did."""
        news = dict(self._authors.items() - self._named.items())
        if news:
            self._people.remember(news)
            self._named |= news

    def _find_records(self, begun: Sequence[GitImport]) -> list[GitImport]:
        """Return what is recorded of this history's import into this place, or a new record.

        A history is known again by the commit that it began with when its import did, wherever
        that is by now: a merge, or a graft, may have put another one before it.
        """
        here = [record for record in begun if record.prefix == self._prefix]
        known = set(self._history.commits())
        own = [record for record in here if record.root in known]
        if here and not own:
            raise ImportRefusedError(
                f"another history, which began with commit {here[0].root[:12]}, was imported "
                f"{f'into {self._prefix!r} ' if self._prefix else ''}before, and pages of the "
                "same name would be one page: choose a folder for this one with --prefix"
            )
        for record in own:
            if record.include != self._include:
                raise ImportRefusedError(
                    f"this history was imported with --include {record.include}, "
                    f"now with {self._include}: use the same, or another wiki"
                )
        return own or [GitImport(self._history.root, self._include, self._prefix)]

    def _reserved(self, begun: Sequence[GitImport]) -> dict[str, datetime]:
        """Return the folders within this one that other histories are imported into."""
        return {
            record.prefix: record.created_on
            for record in begun
            if record.prefix != self._prefix and f"{record.prefix}/".startswith(self._slug(""))
        }

    def _find_remaining(self) -> list[str]:
        imported = self._find_imported()
        commits = self._history.commits()
        if strays := imported.difference(commits):
            raise ImportRefusedError(
                f"the wiki holds {len(strays):,} commits that don't lead to "
                f"{self._history.tip}, {min(strays)} for one: the history was rewritten, "
                "or this is an earlier commit or another branch"
            )
        return [commit for commit in commits if commit not in imported]

    def _find_imported(self) -> set[str]:
        """Walk again as the imports before this one did."""
        imported: set[str] = set()
        for tip, last in (walk for record in self._records for walk in record.walks):
            for commit in self._history.commits(tip):
                if commit not in imported:
                    imported.add(commit)
                    if commit == last:
                        break
        return imported


def _imports_into(app: ContentManagement) -> list[GitImport]:
    begun = app.recorder.select_notifications(1, MOST_IMPORTS, topics=CREATED_TOPICS)
    return [app.repository.get(UUID(str(each.originator_id))) for each in begun]


def user_id_of(author: Author) -> UUID:
    """Return the ID of an author: the same for the same e-mail address, or name without one."""
    email = author.email.strip().lower()
    return uuid5(NAMESPACE_URL, f"mailto:{email}" if email else f"/authors/{author.name}")
