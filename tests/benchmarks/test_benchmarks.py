"""The benchmarks run, at a tiny size, and what they write has the promised shape."""

import json
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from typer import BadParameter

from eventsourcing_kafka.compose.servers.kafka import Kafka
from eventsourcing_kafka.compose.servers.postgres import Postgres
from tests.benchmarks.__main__ import BENCHMARKS, PEERS, measure
from tests.benchmarks.capacity import RATES, Assumed, costs_in, needs
from tests.benchmarks.figures import (
    Figure,
    Line,
    Marks,
    Point,
    Sample,
    Verdict,
    faster,
    reported,
    save,
    sooner,
    within,
)
from tests.benchmarks.history import synthetic
from tests.benchmarks.peers import beside
from tests.benchmarks.plot import PANELS, plot
from tests.benchmarks.report import BEGIN, END, benchmarks_in, markdown, put_into
from tests.benchmarks.servers import ROOT, World

TINY = 0.01


@pytest.mark.usefixtures("programs")
def test_figures_are_measured_and_saved(
    portal: BlockingPortal, kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    world = World(portal, kafka, postgres, scale=TINY)
    file = tmp_path / "build" / "bench.json"

    save(measure(world, ["relay", "activity", "sink", "web"]), file)

    figures = json.loads(file.read_text())
    named = {figure["what"].partition(" of ")[0] for figure in figures}
    assert named == {
        "relay",
        "activity, catching up",
        "a row for each aggregate, exactly once",
        "web, a page",
        "web, a search",
    }
    for figure in figures:
        assert list(figure) == list(Figure.__struct_fields__)
        assert figure["value"] > 0
        if figure["reference"] and figure["against"] != "its limit":
            assert figure["ratio_low"] <= figure["ratio"] <= figure["ratio_high"]


@pytest.mark.usefixtures("programs")
def test_what_events_cost_is_measured_and_tells_what_more_of_them_need(
    portal: BlockingPortal, kafka: Kafka, postgres: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    save(measure(World(portal, kafka, postgres, scale=TINY), ["cost"]), file)

    costs = costs_in(file)

    fewer, more = ({need.part: need.many for need in needs(n, costs, Assumed())} for n in RATES[:2])
    assert fewer["write models, with a relay each"] == 1
    assert all(fewer[part] <= more[part] for part in more)
    assert more["GB a day in Kafka"] > 50 * fewer["GB a day in Kafka"]


def test_without_costs_it_is_said_how_they_are_measured(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("[]")

    for file in ("bench.json", "missing.json"):
        with pytest.raises(BadParameter, match=r"tests\.benchmarks --only cost"):
            costs_in(tmp_path / file)


def test_the_history_is_the_same_every_time() -> None:
    first, second = synthetic(100), synthetic(100)

    assert [event.topic for event in first] == [event.topic for event in second]
    assert len(first) == 100


def test_a_ratio_above_one_is_in_our_favour() -> None:
    low, high = Sample([2.0, 1.0, 3.0]), Sample([8.0, 8.0])

    assert faster("", high, "", low).figure.ratio == 4
    assert sooner("", [low], "", [high]).figure.ratio == 4
    assert within("", low, "s", 8).figure.ratio == 4


def test_what_must_not_take_longer_than_so_often_is_told_from_what_does() -> None:
    def verdict(*rounds: float) -> Verdict | None:
        ours, theirs = ([Sample([each]) for each in some] for some in (rounds, [2.0] * len(rounds)))
        return sooner("", ours, "", theirs, 1.5).verdict

    assert verdict(2.9) is Verdict.YES
    assert verdict(3.1) is Verdict.NO
    assert verdict(2.9, 2.8, 3.1) is Verdict.UNCLEAR
    assert Line(Figure("", 1, "")).verdict is None


def test_the_ratio_is_that_of_pairs_in_the_order_in_which_they_were_measured() -> None:
    figure = faster("", Sample([30.0, 10.0, 21.0]), "", Sample([10.0, 10.0, 10.5])).figure

    assert (figure.ratio, figure.ratio_low, figure.ratio_high) == (2, 1, 3)


def test_percentiles_are_values_that_were_measured() -> None:
    sample = Sample(range(1, 101))

    assert [sample.percentile(percent) for percent in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]


def test_the_rate_leaves_out_the_start_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([0.0, 4.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr("tests.benchmarks.figures.time.perf_counter", lambda: next(times))
    marks = Marks()
    for events in (3, 10, 20, 20, 40):
        marks.note(events)

    assert marks.rate == 15
    assert marks.whole_rate == pytest.approx(40 / 7)


def test_the_page_has_figures_of_benchmarks_that_there_are() -> None:
    named = benchmarks_in((ROOT / "docs" / "FIGURES.md").read_text())

    assert named
    assert named <= {*BENCHMARKS, PEERS}


def test_the_table_replaces_the_one_before_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "FIGURES.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    missed = faster("a", Sample([1.0]), "b", Sample([2.0]), 0.85)._replace(benchmark="fts")
    alone = reported("c", Sample([3.0]), "s")._replace(benchmark="edits")

    for lines in ([alone], [alone, missed]):
        put_into(page, markdown(lines))

    text = page.read_text()
    assert text.startswith(f"above\n{BEGIN}\n`make bench` on ")
    assert text.endswith(f"{END}\nbelow\n")
    assert "old" not in text
    assert benchmarks_in(text) == {"fts", "edits"}
    assert text.index("| **0.5** | 0.85: no | fts | a | 1 events/s | b | 2 |") < text.index("edits")


def test_a_page_without_the_place_for_a_table_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "FIGURES.md"
    page.write_text(f"above {BEGIN} below")

    with pytest.raises(ValueError, match="for the table to go between"):
        put_into(page, "table")

    assert page.read_text() == f"above {BEGIN} below"


def test_figures_of_others_are_said_to_be_measured_by_themselves_and_require_nothing() -> None:
    relay, latency = Figure("relay", 73_400, "events/s"), "relay, commit to readable, p50"
    lines = [Line(relay), Line(Figure(latency, 3.05, "ms")), Line(Figure("other", 1, "s"))]

    beyond = [line.figure for line in beside(lines)]

    assert [(figure.what, figure.ratio) for figure in beyond] == [
        ("relay", 2.0),
        ("relay", pytest.approx(2.33, rel=0.01)),
        (latency, pytest.approx(2.0)),
    ]
    assert all("by itself" in str(figure.against) for figure in beyond)
    assert {figure.at_least for figure in beyond} == {None}


def test_what_grows_is_drawn(tmp_path: Path) -> None:
    def points(panel: str) -> list[Line]:
        line = reported("", Sample([1.0]), "s")
        return [line._replace(point=Point(panel, "who", x)) for x in (1, 10)]

    blank, drawn = tmp_path / "blank.png", tmp_path / "drawn.png"
    plot([], blank)
    plot([line for panel in PANELS for line in points(panel)], drawn)

    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert drawn.read_bytes() != blank.read_bytes()
