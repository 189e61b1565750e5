"""Explore the deep scopes: `make model`; what goes wrong without each rule: `--stories`."""

import argparse
import sys
import time

from rich.console import Console

from .chain import Scope
from .explore import Explored, explore
from .rules import Rules
from .scopes import DEEP, NO_CHAIN, QUICK, SEPARATE, TORN


def main() -> int:
    """Explore, and exit with 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "--stories", action="store_true", help="tell what goes wrong without each of the rules"
    )
    parser.add_argument("--only", default="", help="explore only scopes whose name has this in it")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    if arguments.stories:
        return tell_stories(console)
    shown = [case.scope for case in SEPARATE]
    scopes = [scope for scope in (*QUICK, *shown, *DEEP) if arguments.only in scope.name]
    found = [verify(console, scope) for scope in scopes]
    wrong = sum(1 for explored in found if explored.wrong)
    states = sum(explored.states for explored in found)
    console.print(f"{states:,} states in {len(found)} scopes: {wrong or 'none'} of them wrong")
    return 1 if wrong else 0


def verify(console: Console, scope: Scope) -> Explored:
    """Explore a scope by the rules as they are."""
    began = time.monotonic()
    with console.status(scope.name) as status:

        def progress(states: int, depth: int) -> None:
            status.update(f"{scope.name}: {states:,} states, depth {depth}")

        explored = explore(Rules(), scope, progress)
    console.print(f"{scope.name}\n    {explored} in {time.monotonic() - began:.0f} s")
    return explored


def tell_stories(console: Console) -> int:
    """Tell what goes wrong without each rule."""
    for rules, scope, _ in SEPARATE:
        console.print(f"without {', '.join(rules)}:\n    {explore(Rules().without(*rules), scope)}")
    torn = explore(NO_CHAIN.without("epoch", "produce"), TORN)
    console.print(f"a torn transaction, where the relay believes the last R:\n    {torn}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
