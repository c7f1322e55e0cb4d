"""Does hacking happen in every seed, and what helps? Five seeds of four recipes, two at a time, as one table.

    .venv/bin/python benchmarks/long/pocket_seeds.py [--seeds 5] [--jobs 2] [--out runs/seeds] [--set grpo.steps=40]

Killed? The same command continues. The proxy is in standard deviations of the base policy's samples.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
from pathlib import Path
from typing import Any

VARIANTS = {
    "plain": ("pocket_hack.yaml", ()),
    "with ArtifactReward": ("pocket_guarded.yaml", ()),
    "mean of two proxies": ("pocket_mean_of_two.yaml", ()),
    "larger beta": ("pocket_hack.yaml", ("grpo.beta=0.3",)),
}
PROXY = "aesthetic-pocket"


def run_one(variant: str, seed: int, out: Path, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Train one recipe with one seed; returns the row of the table."""
    from pyrite.cli.recipes import shipped_recipe
    from pyrite.cli.train import run_recipe
    from pyrite.records.config import load_recipe

    file, changes = VARIANTS[variant]
    recipe = load_recipe(shipped_recipe(file), [*changes, *overrides, f"seed={seed}", "num_threads=1"])
    folder = out / f"{variant.replace(' ', '_')}_{seed}"
    run_recipe(recipe, folder, lambda step, steps, metrics: None)
    return row_of(folder, variant, seed)


def row_of(folder: Path, variant: str, seed: int) -> dict[str, Any]:
    """Proxy, gold and KL of a finished run, from its looks."""
    from pyrite.records.samples import read_metrics

    looks = [row for row in read_metrics(folder) if row["split"] == "eval"]
    mean, std = (looks[0][f"rewards/{PROXY}/{what}"] for what in ("mean", "std"))
    proxy = [(look[f"rewards/{PROXY}/mean"] - mean) / std for look in looks]
    gold = [look["gold/mean"] for look in looks]
    peak = max(range(len(gold)), key=gold.__getitem__)
    return {
        "variant": variant,
        "seed": seed,
        "proxy": proxy[-1],
        "gold start": gold[0],
        "gold peak": gold[peak],
        "peak step": looks[peak]["step"],
        "gold end": gold[-1],
        "fall": 1 - gold[-1] / gold[peak],
        "alignment end": looks[-1]["gold_alignment/mean"],
        "realism end": looks[-1]["gold_realism/mean"],
        "kl": looks[-1]["kl"],
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Markdown, in the order of variants and seeds."""
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in sorted(rows, key=lambda row: (list(VARIANTS).index(row["variant"]), row["seed"])):
        cells = [f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in columns]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, mp_context=spawn) as workers:
        jobs = [
            workers.submit(run_one, variant, seed, arguments.out, tuple(arguments.overrides))
            for seed in range(arguments.seeds)
            for variant in arguments.variants
        ]
        rows = []
        for job in concurrent.futures.as_completed(jobs):
            rows.append(job.result())
            print_table(rows[-1:])
    print()
    print_table(rows)


if __name__ == "__main__":
    main()
