"""Ends a process group when its supervisor is gone: `guard.py GROUP SIGNAL`.

Standard input is a pipe of which the supervisor holds the other end. A byte on it means
that all is over and well; its end without a byte, that the supervisor has been killed.
Run as a file by a bare interpreter, so it imports nothing but the standard library.
"""

import contextlib
import os
import signal
import sys
import time

_GRACE = 5.0  # seconds from the signal to SIGKILL


def end(group: int, stop_signal: int) -> None:
    """Send the signal, and SIGKILL to what is still there after the grace."""
    os.killpg(group, stop_signal)
    os.killpg(group, signal.SIGCONT)  # a stopped process hears nothing
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        os.killpg(group, 0)
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)


if __name__ == "__main__" and not os.read(0, 1):
    with contextlib.suppress(ProcessLookupError):  # it has ended, which is what is wanted
        end(int(sys.argv[1]), int(sys.argv[2]))
