"""Alerts, dashboard and scaling speak of figures that exist, in a language that Prometheus reads."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from helm import dashboard, plain_rules
from tests.helm.charts import CHART, NAMESPACE, ROOT, Json, objects, over, the, values
from tests.test_docs import exported

BRIDGE = f"{NAMESPACE}/bridge"
# Counters that are born with their first event: nothing is wrong where they are missing.
BORN_LATE = {
    "dcbridge_http_requests_total",
    "dcbridge_signatures_total",
    "dcbridge_errors_total",
    "dcbridge_ledger_events_total",
    "dcbridge_deliveries_total",
    "dcbridge_mailbox_contact_timestamp_seconds",  # where there are IMAP mailboxes
    "dcbridge_mailbox_errors_total",
    "dcbridge_genesys_statistic_age_seconds",  # where statistics are watched
    "dcbridge_reconciled_total",  # where days are compared with Genesys
}


USUAL = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["monitoring"]["rules"]["thresholds"]


@functools.cache
def all_on() -> Json:
    return over(values("everything"), {"monitoring": {"rules": {"runbookBase": ""}}})


@functools.cache
def alerts() -> tuple[Json, ...]:
    [group] = the("PrometheusRule", "bridge", objects(all_on()))["spec"]["groups"]
    return tuple(group["rules"])


def queries() -> Iterator[tuple[str, str]]:
    """(where, expression) of everything that is asked of Prometheus."""
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    shown = json.loads(the("ConfigMap", "bridge-dashboard", objects(all_on()))["data"]["dcbridge.json"])
    for panel in shown["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for found in objects(all_on()):
        if found["kind"] == "ScaledObject":
            for trigger in found["spec"]["triggers"]:
                yield f"scaling by {trigger['name']}", trigger["metadata"]["query"]


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """(metric, labels that it has to have) of each selector, from the parsed expression."""
    found: list[tuple[str, dict[str, str]]] = []

    def look(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            equal = {m.name: m.value for m in node.matchers.matchers if m.op == promql.MatchOp.Equal}
            found.append((str(node.name), equal))
        return True

    walk(promql.parse(expression), look)
    return found


def walk(node: Any, look: Any) -> None:
    look(node)
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None and not isinstance(inner, str):
            walk(inner, look)
    for inner in getattr(node, "args", None) or []:
        walk(inner, look)


def families() -> set[str]:
    return exported()


def family(metric: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", metric)


def metrics_of(page: str) -> set[str]:
    """Names as /metrics writes them: a counter's with its _total."""
    return {name for name, _ in selectors(page)}


def test_a_query_speaks_of_this_bridge_and_of_figures_that_exist() -> None:
    known = families()
    for where, expression in queries():
        found = selectors(expression)
        assert found, where
        for metric, labels in found:
            assert family(metric) in known, (where, metric)
            assert labels["bridge"] == ("$bridge" if where.startswith("panel") else BRIDGE), where


def test_a_query_that_is_wrong_would_be_found() -> None:
    with pytest.raises(ValueError):
        promql.parse("sum(rate(dcbridge_provider_requests_total[5m])")
    deep = 'max(a{bridge="x"}) / on () group_left sum(rate(b{bridge="y"}[5m])) > 1 or absent(c) unless (d offset 5m)'
    assert [name for name, _ in selectors(deep)] == ["a", "b", "c", "d"]
    assert selectors(deep)[1][1] == {"bridge": "y"}
    assert "dcbridge_no_such_figure" not in families()


def test_every_figure_that_an_alert_looks_at_is_missed_when_it_is_absent() -> None:
    missed: set[str] = set()

    def look(node: Any) -> bool:
        if isinstance(node, promql.Call) and node.func.name == "absent":
            missed.update(name for name, _ in selectors(str(node.args[0])))
        return True

    for alert in alerts():
        walk(promql.parse(alert["expr"]), look)
    used = {name for alert in alerts() for name, _ in selectors(alert["expr"])}
    assert used - BORN_LATE == missed
    assert used & BORN_LATE == BORN_LATE


def test_each_alert_tells_a_person_what_and_where_to_read_on() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(set(names)) == len(names)
    pages = set()
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert re.fullmatch(r"\d+m", alert["for"])
        page = ROOT / alert["annotations"]["runbook_url"]
        text = page.read_text(encoding="utf-8")
        assert f"`{alert['alert']}`" in text
        assert [h for h in ("## What it means", "## What to do", "## When it is over") if h not in text] == []
        grouped = re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])
        assert [label for label in grouped if not re.search(rf"by \([^)]*\b{label}\b", alert["expr"])] == []
        pages.add(page)
    assert pages == set((ROOT / "docs" / "runbooks").glob("*.md")) - {ROOT / "docs/runbooks/README.md"}


def test_the_address_of_runbooks_and_the_thresholds_are_values() -> None:
    given = {
        "monitoring": {
            "rules": {
                "runbookBase": "https://wiki.example.com/dcbridge/",
                "thresholds": {"headroomSeconds": 2.5, "oldestMessageSeconds": 1000000},
            }
        }
    }
    [group] = the("PrometheusRule", "bridge", objects(over(all_on(), given)))["spec"]["groups"]
    text = json.dumps(group)
    assert "https://wiki.example.com/dcbridge/books-out-of-balance.md" in text
    assert "< 2.5" in text
    assert "> 1000000" in text
    assert not re.search(r"[A-Z]{4,}_|RUNBOOKS|\bBRIDGE\b", text)


def test_the_rules_without_kubernetes_are_those_of_the_chart_with_its_usual_thresholds() -> None:
    """`python -m helm.reference` writes them."""
    assert plain_rules.FILE.read_text(encoding="utf-8") == plain_rules.text()
    usual = the("PrometheusRule", "bridge", objects(over(all_on(), {"monitoring": {"rules": {"thresholds": USUAL}}})))
    written = plain_rules.text().replace(f'bridge="{plain_rules.BRIDGE}"', f'bridge="{BRIDGE}"')
    assert yaml.safe_load(written)["groups"] == usual["spec"]["groups"]


def test_the_example_of_a_prometheus_without_kubernetes_reads_them_and_has_their_labels() -> None:
    folder = plain_rules.FILE.parent
    told = yaml.safe_load((folder / "prometheus.yaml").read_text(encoding="utf-8"))
    assert [folder / name for name in told["rule_files"]] == [plain_rules.FILE]
    [job] = told["scrape_configs"]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for group in job["static_configs"]:
        assert group["labels"]["bridge"] == plain_rules.BRIDGE
        [target], port = group["targets"], group["targets"][0].rpartition(":")[2]
        assert f"{target}:{port}" in compose[group["labels"]["pod"]]["ports"]


def test_the_dashboard_is_current_and_its_panels_do_not_overlap() -> None:
    """`python -m helm.reference` writes it."""
    assert (CHART / "files" / "dashboard.json").read_text(encoding="utf-8") == dashboard.text()
    panels = dashboard.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24


def test_every_figure_is_on_the_dashboard_or_in_an_alert_or_said_not_to_be() -> None:
    left_out = {
        "dcbridge_build_info",  # a version
        "dcbridge_waiting_for_slot",  # these four are of a provider with a pace
        "dcbridge_requests_under_way",
        "dcbridge_pace_booked_seconds",
        "dcbridge_paused_seconds",
        "dcbridge_receipts_waiting",
        "dcbridge_journal_written",
    }
    shown = {re.sub(r"_total$", "", family(name)) for _, expr in queries() for name, _ in selectors(expr)}
    assert {re.sub(r"_total$", "", name) for name in families()} - shown - left_out == set()


def test_workers_scale_on_age_and_on_depth_with_what_is_under_way() -> None:
    [scaled] = [o["spec"] for o in objects(all_on()) if o["kind"] == "ScaledObject"]
    by = {trigger["name"]: trigger["metadata"]["query"] for trigger in scaled["triggers"]}
    assert metrics_of(by["oldest"]) == {"dcbridge_oldest_queued_seconds"}
    assert metrics_of(by["depth"]) == {"dcbridge_queued_jobs", "dcbridge_running_jobs"}
    assert 'queue=~"outbound"' in by["depth"]
    assert {trigger["metadata"]["ignoreNullValues"] for trigger in scaled["triggers"]} == {"false"}
    assert scaled["fallback"]["behavior"] == "currentReplicasIfHigher"


promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="no promtool here (Debian: apt-get install prometheus)"
)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": the("PrometheusRule", "bridge", objects(all_on()))["spec"]["groups"]}))
    return path


@promtool
def test_prometheus_own_tool_accepts_the_rules(rules: Path) -> None:
    checked = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(alerts())} rules found" in checked.stdout


@promtool
def test_each_alert_fires_when_it_should_and_not_otherwise(rules: Path) -> None:
    """alerts.test.yaml has a quiet world, and what changes in it."""
    text = (ROOT / "tests" / "helm" / "alerts.test.yaml").read_text(encoding="utf-8")
    told = yaml.safe_load(text.replace("BRIDGE", f'bridge="{BRIDGE}"'))
    by_name = {alert["alert"]: alert for alert in alerts()}
    assert {case["alert"] for case in told["cases"]} == set(by_name)
    quiet = [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in by_name for at in ("20m", "59m")]
    tests = [world(told["quiet"], {}, quiet)]
    for case in told["cases"]:
        alert = by_name[case["alert"]]
        said = {"summary": case["summary"], "runbook_url": alert["annotations"]["runbook_url"]}
        # What Prometheus itself adds: the labels that an absent figure would have had.
        labels = case["labels"] | alert["labels"] | ({"bridge": BRIDGE} if "absent(" in alert["expr"] else {})
        expected = {"exp_labels": labels, "exp_annotations": said}
        stands = {"eval_time": case["at"], "alertname": case["alert"], "exp_alerts": [expected]}
        tests.append(world(told["quiet"], case["change"], [stands]))
    path = rules.with_name("tests.yaml")
    path.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    tested = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def world(quiet: dict[str, str], change: dict[str, str | None], asked: list[Json]) -> Json:
    series = [{"series": name, "values": value} for name, value in (quiet | change).items() if value is not None]
    return {"interval": "1m", "input_series": series, "alert_rule_test": asked}
