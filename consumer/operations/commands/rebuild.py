"""`eventsourcing-kafka consumer rebuild`: fills a new generation of a view, and swaps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from anyio import to_thread

from eventsourcing_kafka.consumer.operations.commands import as_of, messages
from eventsourcing_kafka.consumer.operations.commands.filling import shown_filling
from eventsourcing_kafka.consumer.operations.commands.stores import (
    SystemTopic,
    ViewName,
    opened_store,
)
from eventsourcing_kafka.consumer.operations.comparison import Compared
from eventsourcing_kafka.consumer.operations.filling import Source
from eventsourcing_kafka.consumer.operations.history import write_model_of
from eventsourcing_kafka.consumer.operations.rebuild import Rebuild
from eventsourcing_kafka.producer.kafka.settings import KafkaSettings
from eventsourcing_kafka.producer.runtime.cli import finished
from eventsourcing_kafka.producer.runtime.logs import LogFormat, LogFormatOption, start_logs
from eventsourcing_kafka.producer.runtime.output import AsJson, Yes, confirm, show, tell
from eventsourcing_kafka.producer.runtime.pipeline import PipelineFile, settings_with


def rebuild(
    view: ViewName,
    keep: Annotated[bool, typer.Option(help="Keep the old generation, for --swap-back.")] = False,
    swap_back: Annotated[bool, typer.Option(help="Return to the kept generation.")] = False,
    anew: Annotated[
        bool, typer.Option(help="Do not go on with what an interrupted rebuild has filled.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Hold its rows against the present ones, and ask.")
    ] = False,
    swap_if_equal: Annotated[
        bool, typer.Option("--swap-if-equal", help="Do so, and swap only if all are equal.")
    ] = False,
    even_if_parked: Annotated[
        bool, typer.Option(help="Swap though the new one has more events parked.")
    ] = False,
    source: Annotated[
        Source,
        typer.Option(
            "--from", help="The topic, and the outbox for what it has deleted; or the outbox first."
        ),
    ] = Source.KAFKA,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION|TIME",
            help="Make it as it was then, in a schema of its own, and swap nothing.",
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show which --until has made.")] = False,
    drop: Annotated[
        str | None, typer.Option(metavar="SCHEMA", help="Drop one that --until has made.")
    ] = None,
    system: SystemTopic = None,
    file: PipelineFile = None,
    yes: Yes = False,
    as_json: AsJson = False,
    log_format: LogFormatOption = LogFormat.TEXT,
) -> None:
    """Fill a new generation of a view beside the active one, and swap them.

    Searches go on against the old one until the swap. If it fails, or is interrupted, the
    active one is as it was, and the next rebuild goes on. Followers are refused: there is no
    second generation of what an application, or a projection of the library's, has recorded.

    With --compare both generations are brought to the same positions, and their rows are compared
    by the keys of their tables, while consumers wait; then it asks, or with --swap-if-equal swaps
    by itself, or exits with 1. What numbers rows as they come, a serial or an identity, is not
    compared, being never the same: give tables keys that follow from the events. A generation that
    parks more than the present one is not swapped in: it may be of older code.

    What Kafka has deleted is read from the write model, whose settings are the application's
    (SHOP_POSTGRES_DBNAME); with --from outbox all that is published is, which is slower where Kafka
    has it.

    With --until the view is made as it was at a position, or when that of a time was the last, and
    stays so, in a schema that is named for it: orders_at_1234. The active one and its consumers do
    not notice. A time is ISO 8601 with its zone (2026-01-31T18:00:00Z), and is compared with what
    the events say in the write model. Read it as any schema, or by its view's own commands, with
    ORDERS_POSTGRES_SCHEMA=orders_at_1234. Interrupted, the same command goes on. --list shows which
    there are, --drop removes one.

    Example: eventsourcing-kafka consumer rebuild shop.views:ORDERS --keep

    Example: eventsourcing-kafka consumer rebuild shop.views:ORDERS --swap-if-equal

    Example: eventsourcing-kafka consumer rebuild shop.views:ORDERS --until 2026-01-31T18:00:00Z

    Example: eventsourcing-kafka consumer rebuild shop.views:ORDERS --drop orders_at_1234
    """
    start_logs(log_format)
    asked = as_of.Asked(until, drop, listed=listed)
    if asked.anything:
        asked.check_alone(
            {
                "--keep": keep,
                "--swap-back": swap_back,
                "--compare": compare,
                "--swap-if-equal": swap_if_equal,
                "--even-if-parked": even_if_parked,
            }
        )
        with opened_store(view, system, file) as store:
            asked.do(store, settings_with(file), source, anew=anew, yes=yes, as_json=as_json)
        return
    if compare and not (yes or swap_if_equal or sys.stdin.isatty()):
        raise typer.BadParameter(
            "Nobody is there to answer whether to swap: say --swap-if-equal, or --yes."
        )
    env = settings_with(file)
    settings = KafkaSettings.from_env(env)
    with opened_store(view, system, file) as store:
        name = store.view.name
        write_model = write_model_of(store.view, env)
        job = Rebuild(store, settings, write_model=write_model, source=source)
    if swap_back:
        confirm(messages.may_swap_back(name), yes=yes)
        finished(job.swap_back)
        done, swapped = messages.swapped_back(name), True
    else:
        judge = None
        if compare or swap_if_equal:
            judge = _Judge(name, only_if_equal=swap_if_equal, yes=yes, as_json=as_json)
        elif not keep:
            confirm(messages.may_rebuild(name), yes=yes)
        swapped = _rebuild(
            job, name, keep=keep, anew=anew, even_if_parked=even_if_parked, judge=judge
        )
        done = messages.rebuilt(name) if swapped else messages.not_swapped(name)
    facts: dict[str, Any] = {"view": name, "swapped_back": swap_back, "swapped": swapped}
    if not swap_back and judge:
        facts["compared"] = msgspec.to_builtins(judge.compared)
    tell(done, facts, as_json=as_json)
    if not swapped:
        raise typer.Exit(1)


class _Judge:
    """Shows what was compared, and says whether to swap."""

    def __init__(self, view: str, *, only_if_equal: bool, yes: bool, as_json: bool) -> None:
        self.compared: Sequence[Compared] = ()
        self._view = view
        self._only_if_equal = only_if_equal
        self._yes = yes
        self._as_json = as_json

    async def __call__(self, compared: Sequence[Compared]) -> bool:
        self.compared = compared
        if not self._as_json:
            show(compared, Compared, as_json=False)
        is_equal = all(table.is_equal for table in compared)
        if self._only_if_equal or is_equal:
            return is_equal
        return await to_thread.run_sync(self._may_swap)

    def _may_swap(self) -> bool:
        try:
            confirm(messages.may_swap_though_different(self._view), yes=self._yes)
        except typer.Abort:
            return False
        return True


def _rebuild(
    job: Rebuild, view: str, *, keep: bool, anew: bool, even_if_parked: bool, judge: _Judge | None
) -> bool:
    with shown_filling(view) as (report, take_away):

        async def judged(compared: Sequence[Compared]) -> bool:
            take_away()  # What is asked is not to be drawn over.
            return judge is not None and await judge(compared)

        job_judge = judged if judge else None
        return finished(
            lambda: job.run(
                report, keep=keep, anew=anew, even_if_parked=even_if_parked, judge=job_judge
            )
        )
