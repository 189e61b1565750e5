"""What a process may not say, or not as often."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

STARTS = "--- starts"
"""Is put into the log before each start of a process."""

NOISE = (
    "Traceback (most recent call last)",
    "was never retrieved",
    "was never awaited",
    "Unclosed",
    "Unhandled",
    "ResourceWarning",
)

LOST = "waiting for its server"
REACHED = (": back", "waiting for its end")
"""It has got through, or to its turn: what is lost after that is lost anew."""
OFTEN, WITHIN_SECONDS = 3, 20
"""A loss may be said again when another came between; not again and again in so short a time. While
two servers are lost in turn for minutes, each is said again, ever more rarely."""

TIME = re.compile(r"\[(\d\d):(\d\d):(\d\d)\]")
"""In front of the first line of each second."""


def noise(log: Path) -> Iterator[str]:
    """Yield what a log has that helps nobody."""
    said: defaultdict[str, list[int]] = defaultdict(list)
    now = 0
    for line in log.read_text(errors="replace").splitlines():
        if at := TIME.match(line):
            hours, minutes, seconds = map(int, at.groups())
            now = (hours * 60 + minutes) * 60 + seconds
        if any(words in line for words in NOISE):
            yield line
        if line == STARTS or any(words in line for words in REACHED):
            said.clear()
        elif LOST in line:
            _, _, text = line.partition("WARNING")
            said[text] = [before for before in said[text] if now - before <= WITHIN_SECONDS] + [now]
            if len(said[text]) == OFTEN + 1:
                yield f"again and again: {text.strip()}"
