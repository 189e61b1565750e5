"""One broker and one database server behind locks, for all tests of these."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from .locked import Locked, locked


@pytest.fixture(scope="session")
def stack(programs: None, portal: BlockingPortal) -> Iterator[Locked]:
    """Both servers, with the rights of all roles granted."""
    with tempfile.TemporaryDirectory(prefix="locked-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with portal.wrap_async_context_manager(locked(folder)) as stack:
            yield stack
