"""The benchmarks run, at a tiny size, and what they write has the promised shape."""

import json
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from compose.kafka import Kafka
from compose.postgres import Postgres
from tests.bench.__main__ import measure
from tests.bench.figures import Figure, Line, Marks, Sample, faster, save, sooner, within
from tests.bench.history import synthetic
from tests.bench.servers import World

TINY = 0.01


def test_figures_are_measured_and_saved(
    portal: BlockingPortal, kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    world = World(portal, kafka, postgres, scale=TINY)
    file = tmp_path / "build" / "bench.json"

    save(measure(world, ["relay", "activity"]), file)

    figures = json.loads(file.read_text())
    assert {figure["what"] for figure in figures} == {"relay", "activity, catching up"}
    for figure in figures:
        assert list(figure) == list(Figure.__struct_fields__)
        assert figure["value"] > 0
        assert figure["ratio"] == pytest.approx(figure["value"] / figure["reference"])


def test_the_history_is_the_same_every_time() -> None:
    first, second = synthetic(100), synthetic(100)

    assert [event.topic for event in first] == [event.topic for event in second]
    assert len(first) == 100


def test_a_ratio_above_one_is_in_our_favour() -> None:
    low, high = Sample([2.0, 1.0, 3.0]), Sample([8.0, 8.0])

    assert faster("", high, "", low).figure.ratio == 4
    assert sooner("", low, "", high).figure.ratio == 4
    assert within("", low, "s", 8).figure.ratio == 4


def test_what_must_not_take_longer_than_so_often_is_told_from_what_does() -> None:
    def verdict(milliseconds: float) -> str:
        return sooner("", Sample([milliseconds]), "", Sample([2.0]), 1.5).verdict

    assert "yes" in verdict(2.9)
    assert "no" in verdict(3.1)
    assert Line(Figure("", 1, "")).verdict == ""


def test_percentiles_are_values_that_were_measured() -> None:
    sample = Sample(range(1, 101))

    assert [sample.percentile(percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]


def test_the_rate_leaves_out_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr("tests.bench.figures.time.perf_counter", lambda: next(times))
    marks = Marks()
    for events in (10, 20, 20, 40):
        marks.note(events)

    assert marks.rate == 15
