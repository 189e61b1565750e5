"""A short run, of every kind of fault, by a schedule that is another one each time.

`CHAOS_SEED`, `CHAOS_SECONDS` and `CHAOS_BROKERS` repeat what was found.
"""

import os
import secrets
from pathlib import Path

import pytest

from tests.chaos.run import run

SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))
BROKERS = int(os.environ.get("CHAOS_BROKERS", "1"))
PAUSE = 2.0


@pytest.mark.timeout(SECONDS + 300)
async def test_nothing_is_lost_or_doubled_whatever_breaks(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    outcome = await run(tmp_path, seed, SECONDS, pause=PAUSE, say=print, brokers=BROKERS)
    assert not outcome.findings, f"CHAOS_SEED={seed} CHAOS_SECONDS={SECONDS:.0f} repeats this"
    assert outcome.events
