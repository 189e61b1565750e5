"""A shop in a folder of its own, where nothing of ours is, and what is installed there."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventsourcing_kafka.producer.runtime.plugins import brought

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that Python looks for modules in, with the shop.

    It is imported once: the library knows a class by its topic for as long as the process runs.
    """
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(HERE / "shop", folder / "shop")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


Installs = Callable[..., None]


@pytest.fixture
def install(outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installs]:
    """Installs distributions that bring entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    brought.cache_clear()

    def bring(group: str, distribution: str = "shop", **points: str) -> None:
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Name: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {value}\n" for name, value in points.items()]
        with (folder / "entry_points.txt").open("a") as file:
            file.write("".join([f"[eventsourcing_kafka.{group}]\n", *lines]))
        brought.cache_clear()

    yield bring
    brought.cache_clear()
