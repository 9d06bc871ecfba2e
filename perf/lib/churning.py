"""Vector collections whose vectors are replaced, measured by a program of its own."""

from .bench import Result, median
from .programs import run_program
from .vectors import words


def churn(bench):
    """Every vector of a collection replaced once in 10 % steps: recall@10 lost against a graph built anew of the
    same vectors, at the same ef; vectors out of reach."""
    real = None if bench.small else words(bench)
    arguments = [str(word) for word in real or []]
    runs = [run_program(bench, "perf-churn", *arguments) for _ in range(min(bench.rounds, 3))]
    efs = sorted(int(name.removeprefix("loss-ef")) for name in runs[0] if name.startswith("loss-ef"))
    loss = Result("churn", "recall@10 lost by replacing every vector once, the worst of all ef", "≤ 0.5 points",
                  "points").no_more(0.5)
    loss.values = [max(run[f"loss-ef{ef}"] for ef in efs) for run in runs]
    for ef in efs:
        loss.note(f"ef {ef}: built anew {median([run[f'anew-ef{ef}'] for run in runs]):.4f}, replaced "
                  f"{median([run[f'churned-ef{ef}'] for run in runs]):.4f}")
    loss.note(("word vectors, 100,000 × 100" if real else "synthetic vectors")
              + f"; built at {median([run['build'] for run in runs]):.0f}/s, replaced at "
              f"{median([run['replace'] for run in runs]):.0f}/s (a vector: link "
              f"{median([run['link-us'] for run in runs]):.0f} µs, repair "
              f"{median([run['repair-us'] for run in runs]):.0f} µs, sweep "
              f"{median([run['sweep-us'] for run in runs]):.0f} µs); the longest piece of work "
              f"{median([run['longest-work-us'] for run in runs]):.0f} µs")
    reach = Result("churn-reach", "vectors out of reach, and links to free slots, after that", "0", "").no_more(0)
    reach.values = [run["unreachable"] + run["bad-links"] for run in runs]
    taken = Result("churn-open", "an object taken over, a million vectors", "≤ 200 ms", "ms").no_more(200)
    taken.values = [run["open-ms-per-million"] for run in runs]
    loss.runs["churn"] = runs
    return [loss, reach, taken]
