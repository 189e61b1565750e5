"""What the tests need of Node: installed once, by the lock beside this file, into a cache.

The lock is made anew with: npm install --package-lock-only --omit-lockfile-registry-resolved
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from eventsourcing_kafka.compose.servers import jars

HERE = Path(__file__).parent
needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="Node is not here")


def modules() -> Path:
    """Return the folder that has `node_modules`. Skips the test if there is no way to get it."""
    wanted = [HERE / "package.json", HERE / "package-lock.json"]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in wanted)).hexdigest()[:12]
    kept = jars.cache() / "node" / version
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            making = Path(folder, "made")
            making.mkdir()
            for path in wanted:
                shutil.copy(path, making)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            if subprocess.run(command, cwd=making, check=False).returncode:
                pytest.skip("npm can't install what is in package-lock.json here")
            try:
                making.rename(kept)  # Whole, or not at all.
            except OSError:
                assert kept.exists()  # Another test process was first.
    return kept
