"""What a deployment needs for so many events a second: `python -m tests.benchmarks.capacity`.

It reckons with what `make bench` measured that an event costs each part (`build/bench.json`), and
with assumptions that a machine of two cores can't check. docs/CAPACITY.md tells what follows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from tests.benchmarks.cost import VIEWS
from tests.benchmarks.figures import Figure
from tests.benchmarks.servers import ROOT

RATES = (1_000, 100_000, 10_000_000)
WIDTH = 120
A_DAY = 86_400


class Assumed(NamedTuple):
    """What is not measured."""

    cores: int = 16
    """Of a machine, for a broker or a database."""
    busy: float = 0.6
    """Of its time that a processor may be at work: the rest is for peaks, and for catching up."""
    replicas: int = 3
    """Of each partition. A follower costs a broker what a consumer does that reads the same."""
    stored: int = 5_000
    """Events a second that one write model stores: its transactions take turns to NOTIFY."""


class Costs(NamedTuple):
    """What one event costs a part: seconds of processor time, or bytes."""

    relay: float
    publishing: float
    """The broker."""
    reading: float
    """The broker, for each that reads."""
    kept: float
    """Bytes in Kafka, in one replica."""
    views: Mapping[str, tuple[float, float]]
    """Of the consumer, and of the database, by view."""


class Need(NamedTuple):
    """How many of a part are needed, for a number of events a second."""

    part: str
    many: int
    why: str


def costs_in(file: Path) -> Costs:
    """Read what was measured. Raises `BadParameter` if that was not."""
    try:
        figures = msgspec.json.decode(file.read_bytes(), type=list[Figure])
        found = {figure.what: figure.value for figure in figures}
        seconds = {what: value / 100_000 for what, value in found.items()}
        return Costs(
            seconds["publishing, relay"],
            seconds["publishing, broker"],
            seconds["activity, broker"],
            found["kept in Kafka, in one replica"],
            {name: (seconds[f"{name}, consumer"], seconds[f"{name}, database"]) for name in VIEWS},
        )
    except (OSError, KeyError) as error:
        raise typer.BadParameter(
            f"{file} has no costs ({error}): python -m tests.benchmarks --only cost"
        ) from error


def needs(rate: int, costs: Costs, assumed: Assumed) -> Iterator[Need]:
    """Yield what so many events a second need."""
    applications = yield from _write_models(rate, costs, assumed)
    readers = len(costs.views) + assumed.replicas - 1
    of_brokers = rate * (costs.publishing + readers * costs.reading)
    brokers = max(assumed.replicas, ceil(of_brokers / assumed.cores / assumed.busy))
    why = "as many as replicas" if brokers == assumed.replicas else "their processors"
    yield Need("brokers", brokers, why)
    most = 1
    for name, (consumer, database) in costs.views.items():
        each = ceil(rate / applications * consumer / assumed.busy)
        most = max(most, each)
        why = "one of each write model" if each == 1 else f"{each} of each write model"
        yield Need(f"consumers of {name}", applications * each, why)
        databases = ceil(rate * database / assumed.cores / assumed.busy)
        why = "it is enough" if databases == 1 else "each has some write models' views"
        yield Need(f"databases of {name}", databases, why)
    yield Need("partitions of a topic, at least", most, "one for each consumer")
    kept = rate * A_DAY * costs.kept * assumed.replicas / 1e9
    yield Need("GB a day in Kafka", ceil(kept), f"{assumed.replicas} replicas")


def _write_models(rate: int, costs: Costs, assumed: Assumed) -> Generator[Need, None, int]:
    """Yield how many there are, with a relay each, which keeps one processor; and return it."""
    by_storing = ceil(rate / assumed.stored)
    by_relay = ceil(rate * costs.relay / assumed.busy)
    why = "what one stores" if by_storing >= by_relay else "what one relay publishes"
    applications = max(by_storing, by_relay)
    yield Need("write models, with a relay each", applications, why)
    return applications


app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="What `make bench` has written.")] = ROOT
    / "build"
    / "bench.json",
    rate: Annotated[list[int] | None, typer.Option(help="Events a second; repeatable.")] = None,
    cores: Annotated[int, typer.Option(help="Of a machine.")] = Assumed().cores,
    stored: Annotated[
        int, typer.Option(help="Events a second that a write model stores.")
    ] = Assumed().stored,
    replicas: Annotated[int, typer.Option(help="Of each partition.")] = Assumed().replicas,
) -> None:
    """Reckon how many of each part are needed, and why not fewer."""
    costs, assumed = costs_in(file), Assumed(cores=cores, stored=stored, replicas=replicas)
    for each in rate or RATES:
        table = Table("part", "how many", "why so many", title=f"{each:,} events/s")
        for need in needs(each, costs, assumed):
            table.add_row(need.part, f"{need.many:,}", need.why)
        Console(width=WIDTH).print(table)


if __name__ == "__main__":
    app()
