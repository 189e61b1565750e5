"""A short run, of every kind of fault: one schedule that is always the same, and one that is not.

`CHAOS_SEED` and `CHAOS_SECONDS` repeat what was found.
"""

import os
import secrets
from pathlib import Path

import pytest

from tests.chaos.run import run

SECONDS = float(os.environ.get("CHAOS_SECONDS", "22"))
PAUSE = 1.0
SEEDS = [int(os.environ["CHAOS_SEED"])] if "CHAOS_SEED" in os.environ else [7, None]


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: "random" if seed is None else str(seed))
async def test_nothing_is_lost_or_doubled_whatever_breaks(tmp_path: Path, seed: int | None) -> None:
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    outcome = await run(tmp_path, seed, SECONDS, pause=PAUSE, say=print)
    assert not outcome.findings, f"CHAOS_SEED={seed} CHAOS_SECONDS={SECONDS:.0f} repeats this"
    assert outcome.events
