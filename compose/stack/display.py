"""Shows the state of a running stack: a live table on a terminal, lines where there is none."""

from collections.abc import Awaitable, Callable, Mapping

import anyio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eventsourcing_kafka.compose.stack.stack import Row, Stack

Detail = Callable[[Mapping[str, str]], Awaitable[str]]
"""Says in a line how a part is doing, given the environment that points at its stack."""

_REFRESH = 0.5  # seconds
_QUIET = 10.0  # seconds between lines about the same part, where lines add up
_SLOW = 5.0  # seconds after which a detail is given up


async def show(stack: Stack, details: Mapping[str, Detail], console: Console) -> None:
    """Show the stack until cancelled."""
    told: dict[str, str] = {}
    async with anyio.create_task_group() as tasks:
        for name, detail in details.items():
            tasks.start_soon(_ask, stack, name, detail, told)
        await (_table if console.is_terminal else _lines)(stack, told, console)


async def _ask(stack: Stack, name: str, detail: Detail, told: dict[str, str]) -> None:
    """Keep asking for a detail of a part that the stack has, once its servers are up."""
    while True:
        if any(row.name == name for row in stack.rows()):
            told[name] = await _answer(stack, detail)
        await anyio.sleep(1)


async def _answer(stack: Stack, detail: Detail) -> str:
    try:
        with anyio.fail_after(_SLOW):
            return await detail(stack.environment())
    except Exception as error:  # noqa: BLE001 - whatever it is, the display goes on
        return f"unknown ({type(error).__name__})"


async def _table(stack: Stack, told: Mapping[str, str], console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_render(stack.rows(), told), refresh=True)
            await anyio.sleep(_REFRESH)


def _render(rows: list[Row], told: Mapping[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("part", "state", "where"):
        table.add_column(heading)
    for row in rows:
        running = row.state.startswith("running")
        table.add_row(row.name, Text(row.state, "green" if running else "yellow"), row.where)
        if row.name in told:
            table.add_row("", told[row.name])
        if row.trouble and not running:
            table.add_row("", Text(row.trouble, "dim"))
    return table


async def _lines(stack: Stack, told: Mapping[str, str], console: Console) -> None:
    said: dict[object, tuple[str, float]] = {}

    def say(subject: object, line: str, quiet: float = 0) -> None:
        before, when = said.get(subject, ("", -quiet))
        if line != before and anyio.current_time() - when >= quiet:
            said[subject] = (line, anyio.current_time())
            console.print(line, soft_wrap=True)

    while True:
        for row in stack.rows():
            trouble = "" if row.state.startswith("running") else f"\n{row.trouble}".rstrip()
            say(row.name, f"{row.name}: {row.state} ({row.where}){trouble}")
        for name, text in told.items():
            say((name, "detail"), f"{name}: {text}", _QUIET)
        await anyio.sleep(_REFRESH)
