"""Results as JSON files and as the Markdown table of docs/performance.md."""

import json
import re

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def shown(value, unit):
    if value != value:
        return "not measured"
    digits = f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return f"{digits} {unit}" if unit != "×" else f"{digits}×"


def markdown(results, environment):
    lines = ["| figure | target | measured | reached | seen |", "|---|---|---|---|---|"]
    for result in results:
        lines.append("| {figure} | {target} | {measured} | {reached} | {notes} |".format(
            figure=result["figure"], target=result["target"],
            measured=shown(result["median"] if result["median"] is not None else float("nan"),
                           result["unit"]),
            reached="**no**" if not result["reached"] else "–" if result["limit"] is None else "yes", notes="; ".join(result["notes"])))
    lines += ["", "Medians of {rounds} interleaved runs on {processor}, {cpus} CPUs, Linux {kernel}; server on "
              "CPU {server_cpu}, client on CPU {client_cpu}; input: {data}; commit {commit}."
              .format(**environment)]
    if environment["small"]:
        lines.append("\n**Small mode: these figures mean nothing, only that everything runs.**")
    return "\n".join(lines) + "\n"


def save(folder, name, results, environment):
    folder.mkdir(parents=True, exist_ok=True)
    document = {"environment": environment, "results": [result.as_json() for result in results]}
    text = json.dumps(document, indent=1, allow_nan=True)
    (folder / f"{name}.json").write_text(text + "\n")


def load(folder):
    """All saved results in the order of the experiments, and the environment of the last one."""
    results, environment = [], None
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text())
        results += document["results"]
        environment = document["environment"]
    return results, environment


def into_document(path, table):
    """Replaces what stands between the two marks."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{path}: the marks {BEGIN} and {END} are missing")
    path.write_text(re.sub(re.escape(BEGIN) + ".*?" + re.escape(END),
                           lambda _: f"{BEGIN}\n{table}{END}", text, flags=re.S))
