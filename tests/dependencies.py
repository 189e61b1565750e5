"""Are known vulnerabilities in what the lock holds? Run by `make check`.

    python -m tests.dependencies

Says so, and exits with 1, if there are. Where the service that knows them is out of reach, or
does not know what the lock holds, it says that, and nothing fails.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(sys.prefix, "requirements.txt")
"""What `make` has installed: the lock, with its hashes."""

SECONDS = 60


def ask(requirements: Path) -> tuple[str, str]:
    """Have pip-audit look each of them up; return what it prints, and what it complains of."""
    command = ["pip-audit", "--format=json", "--progress-spinner=off", "--timeout=5"]
    lock = ["--disable-pip", "--require-hashes", f"--requirement={requirements}"]
    program = Path(sys.executable).with_name(command[0])
    try:
        done = subprocess.run(
            [program, *command[1:], *lock],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {SECONDS} seconds"
    return done.stdout, done.stderr


def verdict(printed: str, complaint: str) -> tuple[str, int]:
    """Return a line for people, and the exit code."""
    if not printed.strip():
        reason = (complaint.strip().splitlines() or ["no answer"])[-1]
        return f"Dependencies NOT audited, the service can't be asked: {reason}", 0
    found: Sequence[dict[str, Any]] = json.loads(printed)["dependencies"]
    audited = [dependency for dependency in found if "vulns" in dependency]
    vulnerable = [
        f"{dependency['name']} {dependency['version']}: {fault['id']}, "
        f"fixed in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for dependency in audited
        for fault in dependency["vulns"]
    ]
    if vulnerable:
        advice = "Update with: make lock"
        return "\n".join(["Known vulnerabilities:", *vulnerable, advice]), 1
    if not audited:
        return "Dependencies NOT audited: the service here knows none of them", 0
    unknown = len(found) - len(audited)
    rest = f"; {unknown} are unknown to the service" if unknown else ""
    return f"{len(audited)} dependencies without known vulnerabilities{rest}", 0


if __name__ == "__main__":
    text, code = verdict(*ask(REQUIREMENTS))
    sys.stdout.write(f"{text}\n")
    sys.exit(code)
