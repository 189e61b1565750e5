"""What tests of operations watch."""

import pytest

from .counted import Assignments


@pytest.fixture
def assignments(monkeypatch: pytest.MonkeyPatch) -> Assignments:
    return Assignments(monkeypatch)
