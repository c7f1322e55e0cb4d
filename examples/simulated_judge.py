"""A judge to practise on: OpenAI's API over a model that knows a labelled set by heart and has known faults.

`--set SET.jsonl --port 8000` serves it until Ctrl-C; simulated/ says how it judges and writes. Without arguments it
serves eight images to itself and asks about each of them, and about one that it has never seen.
Run it: `python examples/simulated_judge.py`
"""

import argparse
import json
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that `examples.simulated` is found from anywhere
QUESTIONS = ("Is there a smear in the image? Answer YES or NO.", "Is there a seam in the image? Answer YES or NO.")


def serve(args: argparse.Namespace) -> None:
    from examples.simulated.server import MODEL, SimulatedJudge, served

    with served(SimulatedJudge(args.set, fail_share=args.fail_share), args.port) as judge:
        print(
            f"{MODEL} knows {len(judge.sight.truths)} images and answers at {judge.url}; stop it with Ctrl-C",
            flush=True,
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"{judge.answered.total()} answers")


def show(folder: Path) -> None:
    from examples.simulated.server import MODEL, SimulatedJudge, served

    from pyrite.artifact.judges import served_judge

    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for _ in range(9)]
    rows = [{"image": f"{k}.png", "label": k % 2, **({"kind": "smear"} if k % 2 else {})} for k in range(8)]
    for image, row in zip(images, rows, strict=False):
        image.save(folder / str(row["image"]))
    (folder / "set.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with served(SimulatedJudge(folder / "set.jsonl")) as judge:
        for question in QUESTIONS:
            found = served_judge(base_url=judge.url, model=MODEL, audit="").judge(question, images)
            print(question, "".join(f" {prob:.2f}" for prob in found.prob_artifact))
    print("every second image has a smear; the last one is unscored:", found.reasons[8][:90])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, help="curated JSON lines: image, label, kind, severity")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fail-share", type=float, default=0.0, help="share of the requests that are refused")
    arguments = parser.parse_args()
    serve(arguments) if arguments.set else show(Path(tempfile.mkdtemp()))
