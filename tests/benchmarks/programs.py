"""Diffs made and applied by the programs `diff` and `patch`, as the wiki's first version did."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch


def create_diff(old: str, new: str) -> str:
    """Have `diff` compare two texts."""
    return _output_of("diff {0} {1} > {2}", old, new)


def apply_diff(old: str, diff: str) -> str:
    """Have `patch` change a text."""
    return _output_of("patch -s {0} {1} -o {2}", old, diff)


@contextmanager
def instead() -> Iterator[None]:
    """Have the wiki, and the search view, use the programs."""
    with (
        patch(
            "eventsourcing_kafka.producer.contentmanagement.domainmodel.create_diff", create_diff
        ),
        patch("eventsourcing_kafka.producer.contentmanagement.domainmodel.apply_diff", apply_diff),
        patch("eventsourcing_kafka.consumer.views.fts.policy.apply_diff", apply_diff),
    ):
        yield


def _output_of(command: str, *texts: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("first", "second", "output")]
        for file, text in zip(files, texts, strict=False):
            file.write_text(text)
        os.system(command.format(*(shlex.quote(str(file)) for file in files)))
        return files[-1].read_text()
