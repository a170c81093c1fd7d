"""Trust: how well it predicts, what fakes gain, and how fast it answers.

    prediction  Bitcoin OTC, ten random splits of 70 to 30, also under attack (bench/ratings.py)
    acceptance  corrupted members of a circle of ten, quota 20, 10,000 Sybils (bench/sybils.py)
    rank        Sybils above the honest fifth percentile for g fooled people: the worst of all
                wirings and places
    speed       1 M endorsements among 100,000 operators (bench/circles.py), in a process of its own
    service     the same through the service and a database (bench/trusting.py); --quick: a tenth

    --growth SVG    instead: speed and memory from 10,000 to 10 M endorsements, drawn

Last line: {"node_auc", "node_auc_attacked", "edge_auc", "sybils_accepted", "first_answer_ms",
"warm_answer_ms", "fold_in_ms", "service_first_ms", "service_warm_ms", "service_fold_ms",
"service_load_s", "service_mib", …}. Exits with 1 if a bound on fakes does not hold.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import ratings as otc
from bench import sybils as fakes
from bench.plot import write_plot

SEEDS = 10
QUOTA = 20
FAKES = 10_000
CORRUPTED = (0, 1, 2, 3, 5, 10)
FOOLED = (1, 2, 3, 6, 10, 20, 30)
QUICK_FOOLED = (3, 30)
PLACES = ("random", "threes", "guarantors", "friends")
SIZES = (200, 2000)
GROWTH = (10_000, 100_000, 1_000_000, 3_000_000, 10_000_000)
NEEDED = 3

Figures = dict[str, float]


# --- prediction -----------------------------------------------------------------------------------


def prediction(seeds: int) -> Figures:
    """Mean AUCs over splits, ours and the plain ones', quiet and under attack."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    told_all, size = otc.read_ratings()
    for seed in range(seeds):
        found = otc.split(told_all, size, seed)
        praised = otc.praised_bad(found)
        cases = {
            "": found.told,
            "_attacked": praised,
            "_attacked_fooled_3": otc.fooled(found, praised, 3, seed),
            "_attacked_fooled_30": otc.fooled(found, praised, 30, seed),
            "_attacked_rated_back": otc.rated_back(found, praised),
            "_slandered": otc.slandered_good(found),
            "_slandered_fooled_30": otc.fooled(found, otc.slandered_good(found), 30, seed),
        }
        for case, told in cases.items():
            rows.setdefault(case, []).append(otc.aucs(found, otc.ours(found, told)))
        for name, score in (("_beta", otc.beta), ("_trusted_beta", otc.trusted_beta)):
            for case in ("", "_attacked"):
                rows.setdefault(name + case, []).append(otc.aucs(found, score(found, cases[case])))
    late = otc.split(told_all, size, 0, by_time=True)
    rows["_by_time"] = [otc.aucs(late, otc.ours(late, late.told))]
    figures: Figures = {}
    for name, values in rows.items():
        means, spread = np.mean(values, axis=0), np.std(values, axis=0)
        for key, mean in zip(("node_auc", "edge_circle_auc", "edge_auc"), means, strict=True):
            figures[key + name] = round(float(mean), 4)
        if not name:
            figures["node_auc_spread"] = round(float(spread[0]), 4)
            figures["edge_auc_spread"] = round(float(spread[2]), 4)
    return figures


# --- fakes ----------------------------------------------------------------------------------------


def acceptance(sybils: int) -> Figures:
    """Fakes accepted, by how many of the circle are corrupted; the bound is checked."""
    figures: Figures = {}
    among = fakes.each_other(sybils, seed=0)
    for corrupted in CORRUPTED:
        got = fakes.sybils_accepted(corrupted, QUOTA, sybils, among)
        bound = corrupted * QUOTA // NEEDED if corrupted >= NEEDED else 0
        figures[f"sybils_accepted_corrupted_{corrupted}"] = got
        figures[f"sybils_accepted_corrupted_{corrupted}_bound"] = bound
        if got > bound:
            raise SystemExit(f"{got} fakes accepted with {corrupted} corrupted, bound {bound}")
    figures["sybils_accepted"] = max(
        figures[f"sybils_accepted_corrupted_{corrupted}"] for corrupted in CORRUPTED[:NEEDED]
    )
    return figures


def rank(seeds: int, fooled: tuple[int, ...]) -> Figures:
    """The most Sybils above the honest fifth percentile, by measure, count and fooled people."""
    told_all, size = otc.read_ratings()
    figures: Figures = {}
    shares = []
    for seed in range(seeds):
        circle = otc.split(told_all, size, seed).circle
        honest = fakes.honest_graph(told_all, size, circle)
        shares.append(float(honest.backed[honest.anybody].mean()))
        for sybils in SIZES:
            for edges in fooled:
                found = [
                    fakes.above(
                        honest,
                        fakes.attacked(honest, edges, sybils, wiring, place, seed),
                        sybils,
                    )
                    for wiring in fakes.WIRINGS
                    for place in PLACES
                ]
                for name, worst in zip(
                    fakes.Above._fields, np.max(found, axis=0).tolist(), strict=True
                ):
                    key = f"above_{name}_g{edges}_{sybils}"
                    figures[key] = max(figures.get(key, 0), worst)
    figures["rank_honest_backed_share"] = round(float(np.mean(shares)), 3)
    for edges in fooled:
        for sybils in SIZES:
            for name in ("rank", "rank_all"):
                if figures[f"above_{name}_g{edges}_{sybils}"] > edges / NEEDED:
                    raise SystemExit(f"more than {edges}/3 Sybils ranked by {edges} fooled")
    return figures


# --- speed ----------------------------------------------------------------------------------------


def speed(endorsements: int, module: str = "circles") -> Figures:
    """Times and memory of one size; a tenth as many operators."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{module}", str(endorsements // 10), str(endorsements)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def growth(path: Path) -> Figures:
    """Times and memory from small to large, drawn."""
    names = ("first_answer_ms", "fold_in_ms", "warm_answer_ms", "memory_mib")
    lines: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    figures: Figures = {}
    for endorsements in GROWTH:
        found = speed(endorsements)
        for name in names:
            lines[name].append((endorsements, found[name]))
            figures[f"{name}_{endorsements}"] = found[name]
        show({name: found[name] for name in names}, f"{endorsements:,}")
    write_plot(path, "Trust: one viewer's answers", "endorsements", "ms, MiB", lines)
    return figures


# --- all of it ------------------------------------------------------------------------------------


def show(figures: Figures, title: str) -> None:
    """Print figures as they come."""
    print(title, flush=True)
    for name, value in figures.items():
        print(f"  {name:40} {value:g}", flush=True)


def main() -> None:
    """Measure what was asked for, and print."""
    parser = argparse.ArgumentParser(
        prog="bench.trust", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one circle under attack, not ten")
    parser.add_argument("--growth", type=Path, metavar="SVG", help="measure while the graph grows")
    asked = parser.parse_args()
    if asked.growth:
        print(json.dumps(growth(asked.growth)))
        return
    figures: Figures = {}
    parts: dict[str, Callable[[], Figures]] = {
        "prediction": lambda: prediction(SEEDS),
        "acceptance": lambda: acceptance(FAKES),
        "rank": lambda: rank(1, QUICK_FOOLED) if asked.quick else rank(SEEDS, FOOLED),
        "speed": lambda: speed(1_000_000),
        "service": lambda: speed(100_000 if asked.quick else 1_000_000, "trusting"),
    }
    for title, measure in parts.items():
        part = measure()
        show(part, title)
        figures |= part
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
