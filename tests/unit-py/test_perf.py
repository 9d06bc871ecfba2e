"""What perf/run does with its measurements: order of runs, medians, ratios, verdicts, tables, input."""

import json
import math
import pathlib
import sys
import xml.etree.ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "perf"))

from lib import config, gate, plot, report, scaling  # noqa: E402
from lib.bench import Bench, Result, ratios  # noqa: E402
from lib.data import Data  # noqa: E402


def bench(tmp_path, rounds):
    return Bench(ROOT, ROOT / "build", tmp_path, None, rounds, False, 0, 1)


def test_runs_alternate_so_that_drift_meets_all_alike(tmp_path):
    order = []
    parties = {name: (lambda name=name: order.append(name) or len(order)) for name in "ABC"}
    runs = bench(tmp_path, 4).interleave(parties)
    assert "".join(order) == "ABC" "CBA" "ABC" "CBA"
    assert runs["A"] == [1, 6, 7, 12]


def test_ratios_are_of_the_same_round():
    assert ratios([10, 30], [5, 10]) == [2, 3]
    assert ratios([10, 30], [0, 10]) == [3], "a round without a measurement is left out"


@pytest.mark.parametrize(
    "result, values, reached",
    [
        (Result("x", "", "", "×").at_least(3), [2.9, 3.1, 9], True),
        (Result("x", "", "", "×").at_least(3), [2.9, 2.9, 9], False),
        (Result("x", "", "", "ms").no_more(50), [40, 50, 300], True),
        (Result("x", "", "", "ms").no_more(50), [51, 50, 300], False),
        (Result("x", "", "", "ms").no_more(50), [], False),
        (Result("x", "", "", "answers").no_more(0), [0, 0, 0], True),
    ],
)
def test_the_median_decides(result, values, reached):
    result.values = values
    assert result.reached is reached


def test_nothing_measured_is_said_to_be_nothing(tmp_path):
    result = Result("empty", "a figure", "≤ 1", "ms").no_more(1)
    environment = bench(tmp_path, 1).environment()
    report.save(tmp_path, "00-empty", [result], environment)
    saved = report.load(tmp_path)
    assert math.isnan(saved[0][0]["median"])
    assert "| a figure | ≤ 1 | not measured | **no** |" in report.markdown(saved)


def test_the_document_gets_what_was_measured_and_keeps_the_rest(tmp_path):
    environment = bench(tmp_path, 1).environment()
    results = [Result("a", "old figure", "≤ 1", "ms").no_more(1), Result("b", "new \\1 figure", "≤ 1", "ms").no_more(1)]
    for result in results:
        result.values = [0.5, 0.5]
    report.save(tmp_path, "00-some", results, environment)
    path = tmp_path / "performance.md"
    other = "| another figure | ≥ 3× | 4× | yes | seen | 3, abc |"
    path.write_text("\n".join(["before", report.BEGIN, *report.HEAD, "| old figure | ≤ 1 | 9 ms | **no** | bad | 3, abc |",
                               other, "", "Medians.", report.END, "after", ""]))
    report.into_document(path, report.load(tmp_path))
    lines = path.read_text().splitlines()
    first = lines.index(report.BEGIN) + 1
    assert lines[:first] == ["before", report.BEGIN] and lines[-2:] == [report.END, "after"]
    assert lines[first:first + 2] == report.HEAD
    assert lines[first + 2].startswith("| old figure | ≤ 1 | 0.50 ms | yes |  | 2, ")
    assert lines[first + 3] == other
    assert lines[first + 4].startswith("| new \\1 figure | ")
    path.write_text("no marks")
    with pytest.raises(SystemExit):
        report.into_document(path, report.load(tmp_path))


def test_the_project_document_has_the_marks():
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.index(report.BEGIN) < text.index(report.END)
    figures = [line.split(" | ")[0] for line in text[text.index(report.BEGIN):text.index(report.END)].splitlines()
               if line.startswith("| ")]
    assert len(figures) == len(set(figures))  # a row is found again by its name


def write_all(folder):
    folder.mkdir()
    data = Data(None, 0.001)
    data.write_users(folder / "users.csv", 200)
    data.write_tokens(folder / "tokens.txt", 200)
    data.write_asn(folder / "asn.csv")
    data.write_requests(folder / "requests.csv", 50, 180)
    config.write(folder / "c.yaml", ["tcp://127.0.0.1:1"], config.Rules(data, 100).lines,
                 tokens="tokens.txt")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_synthetic_input_is_the_same_every_time(tmp_path):
    one = write_all(tmp_path / "a")
    assert one == write_all(tmp_path / "b")
    assert Data(None).origin.startswith("synthetic")
    assert all(one.values())


def test_versions_of_a_table_share_the_keys_that_are_asked_for(tmp_path):
    data = Data(None, 0.001)
    keys = []
    for version in (0, 1):
        stable = data.write_users(tmp_path / "users.csv", 1000, version)
        rows = (tmp_path / "users.csv").read_text().splitlines()[1:]
        keys.append({int(row.split(",")[0]) for row in rows})
    assert set(range(1, stable + 1)) <= keys[0] & keys[1]
    assert len(keys[0]) == len(keys[1]) == 1000
    assert not {key for key in keys[0] ^ keys[1] if key <= 2 * stable}, "asked for by no request"


@pytest.mark.parametrize("after, seconds", [([(900, 0)], 0), ([(5000, 0), (1900, 0)], 1),
                                            ([(900, 7), (900, 0)], 1), ([(5000, 0)], math.inf), ([], math.inf)])
def test_recovery_is_the_first_second_that_is_as_before(after, seconds):
    run = [{"replies": 10, "p99": p99, "failed": failed} for p99, failed in [(1000, 0), (9000, 5)] + after]
    assert scaling.recovery_s(run, 2, 1000) == seconds


def gate_judges(*measured, baseline):
    """What the gate says when it measures these one after the other."""
    runs = [dict(zip("ab", values)) for values in measured]
    return [(name, value, reached)
            for name, value, _, reached in gate.judge(lambda: runs.pop(0), ["a", "b"], baseline, 0.5)], len(runs)


def test_the_gate_measures_twice_more_before_it_fails():
    baseline = {"a": 2.0, "b": 10.0}
    assert gate_judges((1.1, 5.0), (9, 9), baseline=baseline) == ([("a", 1.1, True), ("b", 5.0, True)], 1)
    assert gate_judges((0.9, 5.0), (1.0, 4.0), baseline=baseline) == ([("a", 1.0, True), ("b", 5.0, True)], 0)
    assert gate_judges((0.9, 5.0), (0.8, 6.0), (1.2, 4.0), (9, 9), baseline=baseline) == (
        [("a", 1.2, True), ("b", 6.0, True)], 1)
    assert gate_judges((0.9, 5.0), (0.8, 6.0), (0.7, 7.0), (9, 9), baseline=baseline) == (
        [("a", 0.9, False), ("b", 7.0, True)], 1)


def test_a_figure_without_a_baseline_does_not_pass():
    assert gate_judges((1.1, 5.0), baseline={"a": 2.0}) == ([("a", 1.1, True), ("b", 5.0, False)], 0)


def test_every_figure_of_the_gate_has_a_baseline():
    figures = json.loads((ROOT / "perf" / "baselines" / "gate.json").read_text())["figures"]
    named = [name for _, _, names, _ in gate.GROUPS for name in names]
    assert sorted(figures) == sorted(named) == sorted(gate.TEXTS)


def texts_of(svg):
    return [node.text for node in xml.etree.ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_idle_p99_compares_runs_of_the_same_round_that_both_count():
    def runs(*p99s):
        return [{"valid": p99 > 0, "latency_ns": {"p99": abs(p99)}} for p99 in p99s]
    assert scaling.p99_ratios(runs(300, 150, -900, 100), runs(100, 100, 100, -1)) == [3, 1.5]
    assert scaling.spread([3, 1.5, 2]) == "2.00× (1.50 to 3.00)"
    assert scaling.spread([]) == "no valid pair"


def test_plots_show_what_they_are_given():
    shown = texts_of(plot.bars("A <title>", [("one & two", 12.5), ("none", math.nan), ("big", 2.5e6)], "µs"))
    assert shown == ["A <title>", "one & two", "12.5 µs", "none", "– µs", "big", "2.5M µs"]
    drawn = plot.lines("curve", "x", "y", {"a": [(1, 10), (10, 1000)], "b": [(1, 0)]}, log_x=True, log_y=True)
    assert {"curve", "x", "y", "a", "b", "10", "100", "1k"} <= set(texts_of(drawn))
    assert drawn.count("<circle") == 2, "0 has no place on a logarithmic scale"
    assert "nothing was measured" in texts_of(plot.lines("none", "x", "y", {}))


@pytest.mark.parametrize("value, limit, at_most, right", [(2, 4, True, True), (8, 4, True, False), (8, 4, False, True),
                                                          (0, 4, True, True), (math.inf, 4, True, False)])
def test_better_than_the_target_is_to_the_right(value, limit, at_most, right):
    svg = plot.targets("t", [("figure", value, limit, at_most, True)])
    bar = [node for node in xml.etree.ElementTree.fromstring(svg) if node.get("fill") == plot.GOOD][0]
    target = plot.LEFT + (plot.WIDTH - plot.LEFT - plot.RIGHT) / 2
    assert (float(bar.get("x")) >= target) is right


def test_every_plot_comes_from_saved_results(tmp_path):
    latency = {mark: 1000.0 for mark in ("p50", "p90", "p99", "p99.9")}
    runs = {
        "spike-recovery": {"tern": [{"per_second": [{"p99": 10}, {"p99": 20}]}]},
        "idle-p99": {"asking": [{"connections": 1, "latency_ns": latency}, {"connections": 64, "latency_ns": latency}]},
        "one-by-one": {"loop": [{"tern-ns-10": 70.0, "loop-ns-10": 20.0, "tern-ns-1000": 90.0, "loop-ns-1000": 900.0}]},
        "units": {"units": [{"number-one": 30.0, "number-vector": 12.0}]},
        "latency-redis": {"tern": [{"latency_ns": latency}]},
    }
    results = []
    for name, data in runs.items():
        results.append(Result(name, f"figure {name}", "≤ 1", "×").no_more(1))
        results[-1].values, results[-1].runs = [0.5], data
    report.save(tmp_path, "01-all", results, {})
    written = plot.write_all(tmp_path)
    assert sorted(written) == ["connections.svg", "figures.svg", "latency-redis.svg", "one-by-one.svg", "spike.svg",
                               "units.svg"]
    for name in written:
        assert texts_of((tmp_path / name).read_text())


def test_limits_stand_in_the_configuration(tmp_path):
    config.write(tmp_path / "c.yaml", ["tcp://127.0.0.1:1"], [], limits="{ connections: 20000 }")
    assert "limits: { connections: 20000 }\n" in (tmp_path / "c.yaml").read_text()


def test_saved_results_are_plain_json(tmp_path):
    result = Result("one", "figure", "≥ 3×", "×").at_least(3)
    result.values = [3.5]
    report.save(tmp_path, "01-one", [result], {"commit": "abc"})
    document = json.loads((tmp_path / "01-one.json").read_text())
    assert document["results"][0]["reached"] is True
    assert document["environment"] == {"commit": "abc"}
