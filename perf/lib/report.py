"""Results as JSON files and as the Markdown table of docs/performance.md."""

import json
import re

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def shown(value, unit):
    if value != value:
        return "not measured"
    digits = f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return f"{digits} {unit}" if unit != "×" else f"{digits}×"


HEAD = ["| figure | target | measured | reached | seen | runs, commit |", "|---|---|---|---|---|---|"]


def row(result, environment):
    median = result["median"] if result["median"] is not None else float("nan")
    reached = "**no**" if not result["reached"] else "–" if result["limit"] is None else "yes"
    cells = [result["figure"], result["target"], shown(median, result["unit"]), reached, "; ".join(result["notes"]),
             f"{len(result['values'])}, {environment['commit']}"]
    return f"| {' | '.join(cells)} |"


def markdown(saved, kept=()):
    """The table of (result, environment) pairs, in the place of what `kept` (rows of an earlier table) has of the same
    figures: nobody measures all of them anew for a change that concerns a few."""
    fresh = {result["figure"]: row(result, environment) for result, environment in saved}
    rows = [fresh.pop(line.split(" | ")[0].removeprefix("| "), line) for line in kept]
    environment = saved[-1][1]
    lines = HEAD + rows + list(fresh.values())
    lines += ["", "Medians of interleaved runs on {processor}, {cpus} CPUs, Linux {kernel}; server on CPU {server_cpu}, "
              "client on CPU {client_cpu}; input: {data}.".format(**environment)]
    if environment["small"]:
        lines.append("\n**Small mode: these figures mean nothing, only that everything runs.**")
    return "\n".join(lines) + "\n"


def save(folder, name, results, environment):
    folder.mkdir(parents=True, exist_ok=True)
    document = {"environment": environment, "results": [result.as_json() for result in results]}
    text = json.dumps(document, indent=1, allow_nan=True)
    (folder / f"{name}.json").write_text(text + "\n")


def load(folder):
    """(result, environment) of all that is saved, in the order of the experiments."""
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [(result, document["environment"]) for document in documents for result in document["results"]]


def into_document(path, saved):
    """Puts what is saved into the table between the two marks; its other rows stay."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{path}: the marks {BEGIN} and {END} are missing")
    before, table, behind = re.split(f"{re.escape(BEGIN)}|{re.escape(END)}", text)
    kept = [line for line in table.splitlines() if line.startswith("| ")][1:]
    path.write_text(f"{before}{BEGIN}\n{markdown(saved, kept)}{END}{behind}")
