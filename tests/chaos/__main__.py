"""The long run: `python -m tests.chaos --seconds 600 --seed 7`."""

import secrets
import tempfile
from pathlib import Path
from typing import Annotated

import anyio
import typer

from tests.chaos.faults import FAULTS
from tests.chaos.run import run


def main(
    seconds: Annotated[
        float, typer.Option(envvar="CHAOS_SECONDS", help="How long there are faults.")
    ] = 600,
    seed: Annotated[
        int | None, typer.Option(envvar="CHAOS_SEED", help="Repeats a schedule; else random.")
    ] = None,
    pause: Annotated[float, typer.Option(help="Seconds between faults, on average.")] = 2.0,
    brokers: Annotated[
        int, typer.Option(envvar="CHAOS_BROKERS", help="Of Kafka: one, or three.")
    ] = 1,
    retention: Annotated[
        float | None,
        typer.Option(
            envvar="CHAOS_RETENTION",
            help="Seconds that Kafka keeps events: views read the others from the write model.",
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(help="Only these faults, one of `tests.chaos.faults` each; not all."),
    ] = None,
    logs: Annotated[Path | None, typer.Option(help="An empty folder for data and logs.")] = None,
) -> None:
    """Break everything, all the time, and see that nothing is lost or doubled."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    folder = logs or Path(tempfile.mkdtemp(prefix="chaos-"))
    chosen = [each for each in FAULTS if each.__name__ in fault] if fault else FAULTS
    outcome = anyio.run(
        lambda: run(
            folder,
            seed,
            seconds,
            pause=pause,
            say=typer.echo,
            brokers=brokers,
            retention=retention,
            faults=chosen,
        )
    )
    typer.echo(f"seed {seed}: {outcome.events} events; {dict(outcome.faults)}")
    for finding in outcome.findings:
        typer.secho(f"FINDING: {finding}", fg="red")
    raise typer.Exit(bool(outcome.findings))


if __name__ == "__main__":
    typer.run(main)
