"""Images per second of HPSv2.1's ViT-H/14 on a batch of GRPO's, against a plain loop, and memory while streaming.

Runs `pyrite bench rewards` three times, at full size: minutes, and gigabytes. `python benchmarks/rewards.py --tiny`
goes through the same with toy models. The measured rows are kept in throughput.md.
"""

import sys

from pyrite.cli.bench import app

RUNS = (
    ("--rewards", "hpsv2.1", "--dtype", "bfloat16"),
    ("--rewards", "hpsv2.1", "--dtype", "float32"),
    ("--rewards", "clipscore", "--stream", "10000"),
)


def main() -> None:
    """Print a table for each run."""
    for run in RUNS:
        app(["rewards", *run, *sys.argv[1:]], standalone_mode=False)


if __name__ == "__main__":
    main()
