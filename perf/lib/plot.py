"""Plots of results as SVG, written by hand: bars and lines are all that is needed, and nothing has to be
installed for them."""

import json
import math
from html import escape

WIDTH, LEFT, RIGHT, TOP, ROW = 960, 420, 90, 56, 22
COLOURS = ["#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#4a5568"]
GOOD, BAD = "#2f855a", "#c53030"


def number(value):
    """As short as it can be read."""
    if value != value or math.isinf(value):
        return "–"
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.1e}"


def _document(title, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n'
            f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(title)}</text>\n'
            + "\n".join(parts) + "\n</svg>\n")


def _text(x, y, text, anchor="start", colour="#1a202c", size=12):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">'
            f"{escape(text)}</text>")


def bars(title, rows, unit=""):
    """`rows`: (label, value[, colour]); from 0."""
    rows = [(row[0], row[1], row[2] if len(row) > 2 else COLOURS[0]) for row in rows]
    most = max((value for _, value, _ in rows if value == value and not math.isinf(value)), default=0) or 1
    parts = []
    for i, (label, value, colour) in enumerate(rows):
        y = TOP + i * ROW
        shown = 0 if value != value else min(value, most)
        parts.append(_text(LEFT - 8, y + 14, label, "end"))
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" width="{(WIDTH - LEFT - RIGHT) * shown / most:.1f}" '
                     f'height="{ROW - 6}" fill="{colour}"/>')
        parts.append(_text(LEFT + 6 + (WIDTH - LEFT - RIGHT) * shown / most, y + 14, f"{number(value)} {unit}".strip()))
    return _document(title, TOP + len(rows) * ROW + 16, parts)


def targets(title, figures):
    """`figures`: (label, value, limit, at_most, reached): how far each is from its target, on a logarithmic
    scale; to the right is better."""
    parts, reach = [], math.log(16)
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    half = (WIDTH - LEFT - RIGHT) / 2
    for factor in (1 / 16, 1 / 4, 1, 4, 16):
        x = middle + half * math.log(factor) / reach
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{TOP + len(figures) * ROW}" '
                     f'stroke="{"#1a202c" if factor == 1 else "#cbd5e0"}"/>')
        parts.append(_text(x, TOP - 12, "target" if factor == 1 else f"{number(factor)}×", "middle", size=10))
    for i, (label, value, limit, at_most, reached) in enumerate(figures):
        y = TOP + i * ROW
        parts.append(_text(LEFT - 8, y + 14, label if len(label) < 80 else label[:78] + "…", "end", size=10))
        if value != value or not limit:
            factor = 1.0
        elif value <= 0 or math.isinf(value):
            factor = 16 if (value <= 0) == at_most else 1 / 16
        else:
            factor = limit / value if at_most else value / limit
        way = max(-1.0, min(1.0, math.log(factor) / reach)) * half
        parts.append(f'<rect x="{min(middle, middle + way):.1f}" y="{y + 4}" width="{max(abs(way), 1):.1f}" '
                     f'height="{ROW - 8}" fill="{GOOD if reached else BAD}"/>')
        parts.append(_text(WIDTH - RIGHT + 8, y + 14, "not measured" if value != value else number(value), size=11))
    return _document(title, TOP + len(figures) * ROW + 16, parts)


def _ticks(least, most, logarithmic):
    if logarithmic:
        return [10.0 ** power for power in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)]
    step = 10 ** math.floor(math.log10((most - least) or 1))
    step *= 5 if (most - least) / step > 5 else 2 if (most - least) / step > 2 else 1
    return [least + step * i for i in range(int((most - least) / step) + 1)]


def lines(title, x_label, y_label, series, log_x=False, log_y=False):
    """`series`: name → [(x, y)]."""
    points = [point for party in series.values() for point in party
              if point[1] == point[1] and (point[1] > 0 or not log_y)]
    if not points:
        return _document(title, 80, [_text(16, 60, "nothing was measured")])
    left, bottom, top, right = 80, 330, 50, WIDTH - 30
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_least, x_most = min(xs), max(xs)
    y_least, y_most = (min(ys), max(ys)) if log_y else (0, max(ys) or 1)

    def place(value, least, most, start, end, logarithmic):
        if logarithmic:
            value, least, most = math.log(value), math.log(least), math.log(most)
        return start + (end - start) * ((value - least) / (most - least) if most > least else 0.5)
    parts = [f'<path d="M {left} {top} V {bottom} H {right}" fill="none" stroke="#1a202c"/>']
    for tick in _ticks(y_least, y_most, log_y):
        y = place(tick, y_least, y_most, bottom, top, log_y)
        if top - 1 <= y <= bottom + 1:
            parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e2e8f0"/>')
            parts.append(_text(left - 6, y + 4, number(tick), "end", size=10))
    for tick in _ticks(x_least, x_most, log_x):
        x = place(tick, x_least, x_most, left, right, log_x)
        if left - 1 <= x <= right + 1:
            parts.append(_text(x, bottom + 16, number(tick), "middle", size=10))
    for i, (name, party) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        way = [(place(x, x_least, x_most, left, right, log_x), place(y, y_least, y_most, bottom, top, log_y))
               for x, y in party if y == y and (y > 0 or not log_y)]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
                     + " ".join(f"{x:.1f},{y:.1f}" for x, y in way) + '"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in way]
        parts.append(_text(left + 12 + 170 * i, bottom + 54, name, colour=colour))
    parts += [_text((left + right) / 2, bottom + 34, x_label, "middle"), _text(left, top - 8, y_label)]
    return _document(title, bottom + 66, parts)


def _spike(result):
    seconds = [run["per_second"] for run in result["runs"]["tern"]]
    return lines("A spike: p99 of each second", "second", "p99, ms", {
        f"run {i + 1}": [(second, each["p99"] / 1e6) for second, each in enumerate(run)]
        for i, run in enumerate(seconds[:4])}, log_y=True)


def _asking(result):
    runs = result["runs"]["asking"]
    points = [(run["connections"], run) for run in runs if "connections" in run]
    return lines("All connections asking, one request in flight each", "connections", "p50 and p99, µs", {
        name: [(count, run["latency_ns"][name] / 1e3) for count, run in points] for name in ("p50", "p99")},
        log_x=True, log_y=True)


def _one_by_one(result):
    runs, series = result["runs"]["loop"], {}
    for name, label in (("tern-ns", "compiled"), ("loop-ns", "one by one")):
        counts = sorted(int(key.rsplit("-", 1)[1]) for key in runs[0] if key.startswith(name))
        series[label] = [(count, sorted(run[f"{name}-{count}"] for run in runs)[len(runs) // 2])
                         for count in counts]
    return lines("A decision against the number of rules", "rules", "ns", series, log_x=True, log_y=True)


def _units(result):
    run = result["runs"]["units"][0]
    names = [key[: -len("-one")] for key in run if key.endswith("-one")]
    rows = []
    for name in names:
        rows += [(f"{name}, alone", run[f"{name}-one"], COLOURS[0]),
                 (f"{name}, 32 together", run[f"{name}-vector"], COLOURS[2])]
    return bars("A decision over rules of one kind", rows, "ns")


def _vectors(result):
    return lines(result["figure"].split(":")[0], "recall@10", "queries a second", {
        peer: [(recall, qps) for recall, qps in points if recall >= 0.8]
        for peer, points in result["runs"]["curves"].items()}, log_y=True)


def _filters(result):
    runs = result["runs"]["filters"]
    rows = []
    for i, (name, label) in enumerate((("all", "no filter"), ("50", "50 % pass"), ("5", "5 %"), ("0.5", "0.5 %"))):
        recall = _middle(run[f"{name}-recall"] for run in runs)
        rows.append((f"{label}, recall@10 {recall:.3f}", _middle(run[f"{name}-qps"] for run in runs), COLOURS[i]))
    return bars("Searches a second with filters", rows, "")


def _searches(result):
    """In process, then over a socket, each ef in a colour."""
    rows = []
    for name, runs in result["runs"].items():
        if name.startswith("decide"):
            continue
        ef = int(name.rsplit(" ", 1)[1])
        rows.append((name.replace(", ", " connections, ", 1) if name[0].isdigit() else name,
                     _middle(run.get("rps", run.get("qps")) for run in runs), COLOURS[0 if ef == 64 else 1]))
    return bars("Searches a second", rows, "")


def _beside(result):
    run = result["runs"]["beside"][0]
    return bars("Searches a second beside a writer", [
        (label, run[name]["qps"], COLOURS[i]) for i, (name, label) in enumerate((
            ("rest", "at rest"), ("busy", "the other CPU computes"), ("writing", "the other CPU writes")))], "")


def _middle(values):
    values = sorted(values)
    return values[len(values) // 2]


# name of a figure: the file of its plot, and what draws it
PLOTS = {
    "spike-recovery": ("spike.svg", _spike),
    "idle-p99": ("connections.svg", _asking),
    "one-by-one": ("one-by-one.svg", _one_by_one),
    "units": ("units.svg", _units),
    "vector-words-95": ("vector-words.svg", _vectors),
    "vector-images-95": ("vector-images.svg", _vectors),
    "vector-lifted-95": ("vector-lifted.svg", _vectors),
    "search-writing": ("search-writing.svg", _beside),
    "search-socket": ("search.svg", _searches),
    "filters": ("filters.svg", _filters),
}


def _percentiles(name, result):
    """Of whatever parties a latency figure has."""
    parties = {party: runs for party, runs in result["runs"].items()
               if runs and isinstance(runs[0], dict) and "latency_ns" in runs[0]}
    marks = [("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9)]
    rows = []
    for i, (party, runs) in enumerate(parties.items()):
        for mark, _ in marks:
            seen = sorted(run["latency_ns"][mark] for run in runs)
            rows.append((f"{party} {mark}", seen[len(seen) // 2] / 1e3, COLOURS[i % len(COLOURS)]))
    return bars(name, rows, "µs") if rows else None


def write_all(folder):
    """Every plot that the saved results have data for; the names of the files."""
    figures, written = [], []

    def write(name, text):
        (folder / name).write_text(text)
        written.append(name)
    for path in sorted(folder.glob("*.json")):
        for result in json.loads(path.read_text())["results"]:
            value = result["median"] if result["median"] is not None else float("nan")
            if result["limit"] is not None:
                figures.append((result["figure"], value, result["limit"], result["at_most"], result["reached"]))
            if result["name"] in PLOTS:
                name, draw = PLOTS[result["name"]]
                write(name, draw(result))
            elif result["name"] in ("latency-redis", "open-loop-redis"):
                text = _percentiles(result["figure"], result)
                if text:
                    write(result["name"] + ".svg", text)
    if figures:
        write("figures.svg", targets("Figures against their targets: to the right of the line is reached", figures))
    return written
