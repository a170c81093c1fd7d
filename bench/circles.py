"""How fast trust answers on graphs that grow: made up, with hubs; viewers have circles of twenty.

Run by bench/trust.py in a process of its own, so that its memory is the graph's alone.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from hanse.trust.gather import gather
from hanse.trust.graph import Graph
from hanse.trust.levels import answer
from hanse.trust.model import Outcome

VIEWERS = 5
FOLDS = 300
CIRCLE = 20
KIB_PER_MIB = 1024
T = TypeVar("T")


def measure(operators: int, endorsements: int, seed: int = 0) -> dict[str, float]:
    """Medians and 95th percentiles in ms, wall and CPU; and the peak memory in MiB."""
    draw = np.random.default_rng(seed)
    build_ms, _, graph = _timed(lambda: _made(operators, endorsements, draw))
    names = graph.names
    first, folds, warm = [], [], []
    seeds: list[str] = []
    for _ in range(VIEWERS):
        seeds = [names[each] for each in draw.choice(operators, CIRCLE, replace=False).tolist()]
        subject = int(draw.integers(operators))
        first.append(_timed(lambda: _answer(graph, seeds, subject))[:2])  # noqa: B023
    for _ in range(FOLDS):
        source = int(operators * draw.random() ** 2)
        target = int(draw.integers(operators))
        folds.append(_timed(lambda: _fold(graph, seeds, source, target))[:2])  # noqa: B023
        warm.append(_timed(lambda: _answer(graph, seeds, target))[:2])  # noqa: B023
    peak_mib = _peak_mib()
    view = graph.view(seeds)
    again = Graph.from_arrays(graph.names, *graph.arrays()).view(seeds)
    if not np.array_equal(view.rank()[:operators], again.rank()[:operators]):
        raise SystemExit("a folded graph and a rebuilt one differ")
    figures = {"edges": graph.edges, "build_ms": build_ms, "memory_mib": peak_mib}
    for name, times in (("first_answer", first), ("fold_in", folds), ("warm_answer", warm)):
        wall, cpu = np.array(times).T
        figures[f"{name}_ms"] = float(np.median(wall))
        figures[f"{name}_p95_ms"] = float(np.percentile(wall, 95))
        figures[f"{name}_cpu_p95_ms"] = float(np.percentile(cpu, 95))
    return figures


def _made(operators: int, endorsements: int, draw: np.random.Generator) -> Graph:
    """Some give and get far more than others, as people do: squares of uniform draws."""
    names = [f"{number:064x}" for number in range(operators)]
    by = (operators * draw.random(endorsements) ** 2).astype(np.int64)
    of = draw.permutation(operators)[(operators * draw.random(endorsements) ** 2).astype(np.int64)]
    return Graph.from_arrays(names, by, of, draw.integers(1, 4, endorsements))


def _fold(graph: Graph, seeds: list[str], source: int, target: int) -> None:
    """One new endorsement, and the viewer's view brought up to date with it."""
    graph.fold(graph.names[source], graph.names[target], 2)
    graph.view(seeds)


def _answer(graph: Graph, seeds: list[str], subject: int) -> None:
    """One subject's reach, backing and paths, what three raters say, and the answer made of it."""
    name = graph.names[subject]
    outcomes = [
        Outcome(rater=rater, subject=name, good=5.0, at_s=0)
        for rater in (*seeds[:2], graph.names[0])
    ]
    answer(
        gather(
            graph,
            graph.view(seeds),
            [],
            [each for each in outcomes if each.rater != name],
            viewer="viewer",
            circle=seeds,
            subject=name,
            now_s=0,
        )
    )


def _peak_mib() -> float:
    """The most memory so far; getrusage would count what the process that forked us had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / KIB_PER_MIB
    raise SystemExit("this kernel does not tell the peak of memory")


def _timed(work: Callable[[], T]) -> tuple[float, float, T]:
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000, done


def main() -> None:
    """Measure one size: operators, endorsements."""
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
