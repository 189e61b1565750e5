"""What a process may not say, or not as often."""

from collections import Counter
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
OFTEN = 3
"""A loss may be said again when another came between; not again and again."""


def noise(log: Path) -> Iterator[str]:
    """Yield what a log has that helps nobody."""
    said = Counter[str]()
    for line in log.read_text(errors="replace").splitlines():
        if any(words in line for words in NOISE):
            yield line
        if line == STARTS or any(words in line for words in REACHED):
            said.clear()
        elif LOST in line:
            _, _, text = line.partition("WARNING")
            said[text] += 1
            if said[text] == OFTEN + 1:
                yield f"again and again: {text.strip()}"
