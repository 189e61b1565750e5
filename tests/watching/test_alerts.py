"""The shipped rules fire for their faults, name what is wrong, and are silent otherwise.

Prometheus' own tool tries them, over figures as our processes give them.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline import ROOT

FOLDER = ROOT / "compose" / "cluster"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "pipeline.json").read_text())
PROMTOOL = shutil.which("promtool")
PREFIX = "eventsourcing_kafka_"

pytestmark = [
    pytest.mark.usefixtures("programs"),
    pytest.mark.skipif(PROMTOOL is None, reason="Prometheus is not installed"),
]

Figures = dict[str, str]
"""Values of every minute, in promtool's notation, by series."""

MINUTES = 90
AT_REST, GROWING = f"x{MINUTES}", f"+60x{MINUTES}"


def relay(instance: str, *, publishing: int) -> Figures:
    labels = f'{{application="Shop",instance="{instance}",job="relay"}}'
    steady = {"position": 10, "head": 10, "gap": 0, "lag_seconds": 0, "healthy": 1, "ready": 1}
    steady |= {"publishing": publishing, "lost_total": 0, "restarts_total": 2}
    return {
        f'up{{instance="{instance}",job="relay"}}': f"1{AT_REST}",
        **{f"{PREFIX}relay_{name}{labels}": f"{value}{AT_REST}" for name, value in steady.items()},
    }


def consumer(instance: str, view: str) -> Figures:
    of = f'instance="{instance}",job="consumer",view="{view}"'
    whole = {"healthy": 1, "ready": 1, "restarts_total": 0}
    each = {"position": 9, "offset": 12, "head": 12, "gap": 0, "lag_seconds": 0, "owned": 1}
    each |= {"stopped": 0, "parked": 0, "dropped": 1}
    return {
        f'up{{instance="{instance}",job="consumer"}}': f"1{AT_REST}",
        **{f"{PREFIX}view_{name}{{{of}}}": f"{value}{AT_REST}" for name, value in whole.items()},
        **{
            f'{PREFIX}view_{name}{{{of},partition="{partition}"}}': f"{value}{AT_REST}"
            for name, value in each.items()
            for partition in range(2)
        },
    }


HEALTHY: Figures = {
    **relay("r1", publishing=1),
    **relay("r2", publishing=0),
    **consumer("c1", "orders"),
    **consumer("c2", "orders"),
    **consumer("c3", "sales"),
}
"""A pipeline at rest: two relays, two consumers of one view, and one of another."""


def but(pattern: str, values: str) -> Figures:
    """Return the figures of the healthy one, with other values where a series is so."""
    changed = {series: values for series in HEALTHY if re.search(pattern, series)}
    assert changed
    return HEALTHY | changed


GONE = "1x30 stale"
LATE = f"0x{MINUTES - 40} 0+60x40"
FAULTS: Mapping[str, tuple[Figures, Mapping[str, str]]] = {
    "NobodyPublishes": (but("relay_publishing.*r1", f"0{AT_REST}"), {"application": "Shop"}),
    "RelayGapGrows": (but("relay_gap", LATE), {"application": "Shop"}),
    "KafkaLostEvents": (but("relay_lost_total.*r1", "0x60 5x30"), {"application": "Shop"}),
    "ViewGapGrows": (but("view_gap.*sales", LATE), {"view": "sales"}),
    "PartitionStopped": (
        but('view_stopped.*orders.*partition="1"', f"1{AT_REST}"),
        {"view": "orders", "partition": "1"},
    ),
    "PartitionWithoutOwner": (
        but('view_owned.*sales.*partition="0"', f"0{AT_REST}"),
        {"view": "sales", "partition": "0"},
    ),
    # The address of the only consumer of a view goes, and all of its figures with it.
    "ViewWithoutConsumer": (but("c3", GONE), {"view": "sales"}),
    "NothingToWatch": (but("view_", "_"), {}),
    "EventsParked": (but('view_parked.*orders.*partition="0"', f"7{AT_REST}"), {"view": "orders"}),
    "RelayNotReady": (
        but("relay_ready.*r2", f"0{AT_REST}"),
        {"application": "Shop", "instance": "r2"},
    ),
    "ViewNotReady": (but("view_ready.*c2", f"0{AT_REST}"), {"view": "orders", "instance": "c2"}),
    "ProcessGone": (but("up.*c1", f"0{AT_REST}"), {"job": "consumer", "instance": "c1"}),
}


def filled_in(text: str, labels: Mapping[str, str], value: str) -> str:
    text = re.sub(r"{{ \$value( \| humanize)? }}", value, text)
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)


def case(figures: Figures, **tests: Any) -> dict[str, Any]:
    series = [{"series": name, "values": values} for name, values in figures.items()]
    return {"interval": "1m", "input_series": series, **tests}


def fires(alert: str, labels: Mapping[str, str], value: str = "") -> dict[str, Any]:
    rule = RULES[alert]
    annotations = {
        name: filled_in(text, labels, value) for name, text in rule["annotations"].items()
    }
    expected = {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": annotations}
    return {"eval_time": f"{MINUTES}m", "alertname": alert, "exp_alerts": [expected]}


def promtool(tmp_path: Path, *cases: Mapping[str, Any]) -> str:
    """Try the rules, and return what is not as expected."""
    file = tmp_path / "tests.yaml"
    rules = [str(FOLDER / "alerts.yaml")]
    file.write_text(yaml.safe_dump({"rule_files": rules, "tests": list(cases)}))
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_every_alert_has_its_fault() -> None:
    assert set(FAULTS) == set(RULES)


def test_for_each_fault_its_alert_names_what_is_wrong(tmp_path: Path) -> None:
    value = {"EventsParked": "7", "RelayGapGrows": "1"}
    cases = [
        case(figures, alert_rule_test=[fires(alert, labels, value.get(alert, ""))])
        for alert, (figures, labels) in FAULTS.items()
    ]
    assert promtool(tmp_path, *cases) == ""


def test_nothing_fires_while_a_healthy_pipeline_is_at_rest(tmp_path: Path) -> None:
    silent = [
        {"eval_time": time, "alertname": alert, "exp_alerts": []}
        for alert in RULES
        for time in ("10m", f"{MINUTES}m")
    ]
    assert promtool(tmp_path, case(HEALTHY, alert_rule_test=silent)) == ""


def test_nothing_else_fires_when_the_only_consumer_of_a_view_is_gone(tmp_path: Path) -> None:
    silent = [
        {"eval_time": f"{MINUTES}m", "alertname": alert, "exp_alerts": []}
        for alert in RULES.keys() - {"ViewWithoutConsumer"}
    ]
    figures, _ = FAULTS["ViewWithoutConsumer"]
    assert promtool(tmp_path, case(figures, alert_rule_test=silent)) == ""


def busy() -> Figures:
    """Return the figures of a pipeline at work, and of a rebuild."""
    application, view = 'application="Shop",instance="r1"', 'view="sales",instance="c3"'
    figures = {**HEALTHY, 'process_resident_memory_bytes{job="relay"}': f"9e7{AT_REST}"}
    for kind, of in (("relay", application), ("view", view)):
        for name in ("batch_duration_seconds", "batch_size"):
            for suffix in ("_sum", "_count"):
                figures[f"{PREFIX}{kind}_{name}{suffix}{{{of}}}"] = f"0{GROWING}"
            for le in ("0.1", "+Inf"):
                figures[f'{PREFIX}{kind}_{name}_bucket{{{of},le="{le}"}}'] = f"0{GROWING}"
    return figures | {
        f"{PREFIX}relay_published_total{{{application}}}": f"0{GROWING}",
        f'{PREFIX}view_records_total{{{view},outcome="applied"}}': f"0{GROWING}",
        f"{PREFIX}view_guard_mismatches_total{{{view}}}": f"0{AT_REST}",
        f"{PREFIX}view_replays_total{{{view}}}": f"0{AT_REST}",
        f'{PREFIX}view_rebuild_gap{{{view},partition="0"}}': f"5{AT_REST}",
    }


def test_each_panel_shows_something(tmp_path: Path) -> None:
    expressions = [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
    ]
    shown = [
        {
            "expr": f"count({expression.replace('[1m]', '[2m]')}) > bool 0",
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for expression in expressions
    ]
    assert promtool(tmp_path, case(busy(), promql_expr_test=shown)) == ""
