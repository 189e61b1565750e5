"""Shows the state of a running stack: a live table on a terminal, lines where there is none."""

from collections.abc import Mapping

import anyio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.compose.stack.details import Detail, opened_details
from eventsourcing_kafka.compose.stack.stack import PartState, Stack
from eventsourcing_kafka.producer.outbox import NoEventsError
from eventsourcing_kafka.producer.runtime.errors import OperatorError

_ASK_EVERY = 1.0  # seconds
_REFRESH = 0.5  # seconds
_QUIET = 10.0  # seconds between lines about the same part, where lines add up
_SLOW = 5.0  # seconds after which a detail is given up


async def show(stack: Stack, console: Console) -> None:
    """Show the stack until cancelled."""
    details: dict[str, str] = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ask_for_details, stack, details)
        await (_table if console.is_terminal else _lines)(stack, details, console)


async def _ask_for_details(stack: Stack, answers: dict[str, str]) -> None:
    """Keep asking for the details of the services that the stack runs, once there are any."""
    while not (services := stack.services.keys() & {row.name for row in stack.rows()}):  # noqa: ASYNC110 - a stack does not tell
        await anyio.sleep(_ASK_EVERY)
    with opened_details(stack.environment(), stack.pipeline) as details:
        async with anyio.create_task_group() as tasks:
            for name in services & details.keys():
                tasks.start_soon(_keep_asking, name, details[name], answers)


async def _keep_asking(name: str, detail: Detail, answers: dict[str, str]) -> None:
    while True:
        answers[name] = await answer_of(detail)
        await anyio.sleep(_ASK_EVERY)


async def answer_of(detail: Detail) -> str:
    """Return how a part is doing, or why that is not known."""
    try:
        with anyio.fail_after(_SLOW):
            return await detail()
    except NoEventsError:
        return "its tables are not made yet"
    except OperatorError as error:
        return f"unknown: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it is, the display goes on
        return f"unknown ({type(error).__name__})"


async def _table(stack: Stack, details: Mapping[str, str], console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_render(stack.rows(), details), refresh=True)
            await anyio.sleep(_REFRESH)


def _render(rows: list[PartState], details: Mapping[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("part", "state", "where"):
        table.add_column(heading)
    for row in rows:
        running = row.state.startswith("running")
        table.add_row(row.name, Text(row.state, "green" if running else "yellow"), row.where)
        if row.name in details:
            table.add_row("", details[row.name])
        if row.trouble and not running:
            table.add_row("", Text(row.trouble, "dim"))
    return table


async def _lines(stack: Stack, details: Mapping[str, str], console: Console) -> None:
    printed: dict[object, tuple[str, float]] = {}

    def print_changed(subject: object, line: str, quiet: float = 0) -> None:
        before, when = printed.get(subject, ("", -quiet))
        if line != before and anyio.current_time() - when >= quiet:
            printed[subject] = (line, anyio.current_time())
            console.print(line, soft_wrap=True)

    while True:
        for row in stack.rows():
            trouble = "" if row.state.startswith("running") else f"\n{row.trouble}".rstrip()
            print_changed(row.name, f"{row.name}: {row.state} ({row.where}){trouble}")
        for name, text in details.items():
            print_changed((name, "detail"), f"{name}: {text}", _QUIET)
        await anyio.sleep(_REFRESH)
