"""Training on this machine, every form once: `python benchmarks/training.py [--cpu-clock]`, one JSON object per line.

The rows of training.md come from here. For a GPU: benchmarks/gpu_training.sh.
"""

import subprocess
import sys

FORMS = (
    ("--size", "pocket"),
    ("--size", "pocket", "--as-published"),
    ("--size", "tiny", "--cfg-scale", "5", "--prompts", "2", "--per-prompt", "8"),
    ("--size", "tiny", "--cfg-scale", "5", "--prompts", "2", "--per-prompt", "8", "--as-published"),
)


def main() -> None:
    """Measure them in turn."""
    for form in FORMS:
        command = [sys.executable, "-m", "pyrite", "bench", "train", "--json", *form, *sys.argv[1:]]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
