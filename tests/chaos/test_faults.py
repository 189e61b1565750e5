"""What a fault takes for a finding, and what it leaves alone meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.chaos import faults
from tests.chaos.actor import Actor
from tests.chaos.faults import Fault
from tests.chaos.stage import Stage

GOES_ON = "print('publishing after position 7', flush=True)"
REFUSES = "raise SystemExit('It was restored from a backup, or it is another one.')"
IS_FROZEN = "pass"
STAYS = "import time; time.sleep(1000)"


@asynccontextmanager
async def a_relay_that(does: str, stage: Stage, log: Path) -> AsyncIterator[Actor]:
    """Keep a program running in the place of the relays."""
    command = ["timeit", "--number", "1", "--repeat", "1", f"{does}; {STAYS}"]
    relay = Actor("relay-0", command, log, {}, stage.say, stage.complain)
    stage.relays = [relay]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.keep)
        await anyio.wait_all_tasks_blocked()
        yield relay
        tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("does", "findings"),
    [
        (GOES_ON, ["relay-0 goes on with a write model that was restored"]),
        (REFUSES, []),
        (IS_FROZEN, []),
    ],
    ids=["goes on", "refuses", "is frozen"],
)
async def test_a_relay_that_goes_on_with_a_restored_write_model_is_a_finding_and_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, findings: list[str]
) -> None:
    monkeypatch.setattr(faults, "REFUSAL_SECONDS", 2 if does == IS_FROZEN else 30)
    stage = Stage(tmp_path, print)
    async with (
        a_relay_that(does, stage, tmp_path / "relay-0.log") as relay,
        relay.expected_to_say(faults.RESTORED) as refused,
    ):
        await faults._see_refused(stage, [refused], nullcontext(enter_result=True))
    assert stage.findings == findings


@pytest.mark.usefixtures("programs")
async def test_no_relay_runs_while_a_write_model_is_restored(tmp_path: Path) -> None:
    stage = Stage(tmp_path, print)
    running: list[bool] = []

    @asynccontextmanager
    async def restored() -> AsyncIterator[bool]:
        running.append(not relay._idle.is_set())
        yield True

    async with (
        a_relay_that(REFUSES, stage, tmp_path / "relay-0.log") as relay,
        relay.expected_to_say(faults.RESTORED) as refused,
    ):
        await faults._see_refused(stage, [refused], restored())
    assert running == [False]


@pytest.mark.parametrize("fault", [faults.make_the_topic_anew, faults.change_the_prefix])
async def test_what_a_restored_write_model_is_known_by_stays_in_kafka_meanwhile(
    tmp_path: Path, fault: Fault
) -> None:
    stage = Stage(tmp_path, print)
    began = False

    async def begin() -> None:
        nonlocal began
        began = True
        await fault(stage, Random(1))

    async with stage.restoring, anyio.create_task_group() as tasks:
        tasks.start_soon(begin)
        await anyio.wait_all_tasks_blocked()
        assert began
        assert stage.restoring.statistics().tasks_waiting == 1
        tasks.cancel_scope.cancel()
    assert not stage.left
