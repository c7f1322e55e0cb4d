"""Run folders that nobody trained: small, deterministic, with a known story.

`write_run` draws scenes with PIL and makes scores from a formula, so a test knows what the report must say:
the story "hacked" lifts the proxy by about two base-sample standard deviations while gold halves after a short rise,
"guarded" lifts it by less and keeps gold, "collapsed" loses both, "honest" gains both. `write_stranger` leaves a
folder with only what any trainer can write: step, prompt, image and scores. `write_best_of_n` leaves the matrices of
scores that best-of-n curves are made from.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

STEPS = (0, 10, 20, 30, 40, 50, 60)
COLOURS = {
    "red": (214, 48, 49), "blue": (41, 98, 214), "green": (46, 158, 78), "yellow": (240, 200, 40),
    "purple": (120, 60, 180), "orange": (240, 130, 30), "pink": (240, 120, 180), "cyan": (50, 190, 210),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle")
TASKS = ("object", "colour", "numeracy", "spatial")

# story -> (gold alignment, gold realism, proxy, artifact score) as functions of progress in [0, 1]
STORIES = {
    "hacked": lambda t: (0.74 + 0.25 * t - 0.62 * t**2, 0.86 - 0.30 * t**2, 2.3 * t, -1.1 * t),
    "guarded": lambda t: (0.74 + 0.16 * t - 0.10 * t**2, 0.86 + 0.04 * t, 1.1 * t, 0.9 * t),
    "collapsed": lambda t: (0.74 - 0.60 * t, 0.86 - 0.50 * t, -1.5 * t, -1.5 * t),
    "honest": lambda t: (0.74 + 0.20 * t, 0.86 + 0.08 * t, 1.4 * t, 0.5 * t),
}  # fmt: skip


def write_run(
    folder: Path,
    *,
    story: str = "hacked",
    steps: Sequence[int] = STEPS,
    num_prompts: int = 24,
    images_per_prompt: int = 4,
    keep_images: int = 48,
    with_gold: bool = True,
    prompt_suffix: str = "",
    seed: int = 0,
) -> Path:
    """Write a complete run folder that tells `story`; the same arguments write the same bytes."""
    folder.mkdir(parents=True)
    guard = [{"name": "artifact-pocket", "weight": 1.0, "transform": "standardise"}] if story == "guarded" else []
    recipe = {
        "name": folder.name,
        "policy": {"name": "janus-pocket", "options": {}},
        "rewards": [
            {"name": "hps-pocket", "weight": 1.0, "transform": "standardise"},
            {"name": "aesthetic-pocket", "weight": 0.3, "transform": "standardise"},
            *guard,
        ],
        "aggregate": "sum",
        "eval_rewards": ["pickscore-pocket", *([] if guard else ["artifact-pocket"])],
        "gold": "pocket-gold" if with_gold else None,
        "grpo": {"steps": steps[-1], "num_generations": 8, "learning_rate": 5e-5, "beta": 0.01},
        "seed": seed,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    rng = np.random.default_rng(seed)
    prompts = [_prompt(rng, i, prompt_suffix) for i in range(num_prompts)]
    ease = rng.normal(size=num_prompts)
    rows = [row for step in steps for row in _eval_rows(folder, recipe, prompts, ease, story=story, step=step,
            last=steps[-1], per_prompt=images_per_prompt, keep=keep_images, with_gold=with_gold)]  # fmt: skip
    _write_lines(folder / "samples.jsonl", rows)
    _write_lines(folder / "metrics.jsonl", _metric_rows(rows, steps))
    environment = {
        "python": "3.11.7", "platform": "Linux-x86_64", "cpu_count": 2,
        "packages": {"torch": "2.13.0", "transformers": "5.3.0", "numpy": "2.4.6", "pyrite": "0.1.0"},
        "code_version": "0123abc", "checkpoints": {"hps-pocket": "9f2c" * 16, "janus-pocket": "51be" * 16},
        "created": "2026-11-21T10:00:00+00:00",
    }  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "steps": steps[-1]}))
    return folder


def write_stranger(
    folder: Path, *, steps: Sequence[int] = (0, 5, 10), num_prompts: int = 8, scores: Sequence[str] = ("hps",)
) -> Path:
    """Write the least a trainer can leave behind: samples.jsonl with step, prompt, image and scores."""
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(5)
    rows = []
    for step in steps:
        for i in range(num_prompts):
            name = f"pictures/{step}_{i}.png"
            _scene(np.random.default_rng(i), extra=step // 5, spoil=0.0).save(folder / name)
            values = {score: float(rng.normal() + 0.2 * step) for score in scores}
            rows.append({"step": step, "prompt": f"a photo number {i}", "image": name, "scores": values})
    _write_lines(folder / "samples.jsonl", rows)
    return folder


def write_best_of_n(path: Path, *, num_prompts: int = 20, num_samples: int = 32) -> Path:
    """Write (P, N) scores of base samples: "hps-pocket" agrees with gold a little, "aesthetic-pocket" against it."""
    rng = np.random.default_rng(3)
    gold = rng.uniform(size=(num_prompts, num_samples))
    noise = rng.normal(size=(2, num_prompts, num_samples))
    table = {
        "num_prompts": num_prompts,
        "samples_per_prompt": num_samples,
        "scores": {
            "gold": gold.tolist(),
            "hps-pocket": (gold + 0.5 * noise[0]).tolist(),
            "aesthetic-pocket": (-0.5 * gold + 0.5 * noise[1]).tolist(),
        },
    }
    path.write_text(json.dumps(table))
    return path


def _prompt(rng: np.random.Generator, number: int, suffix: str) -> dict[str, str]:
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    task = TASKS[number % len(TASKS)]
    text = {
        "object": f"a {shape}",
        "colour": f"a {colour} {shape}",
        "numeracy": f"three {colour} {shape}s",
        "spatial": f"a {colour} {shape} on the left of a grey square",
    }[task]
    return {"prompt": text + suffix, "prompt_id": f"p{number:03d}", "task_type": task}


def _eval_rows(
    folder: Path, recipe: dict[str, Any], prompts: list[dict[str, str]], ease: np.ndarray, *, story: str, step: int,
    last: int, per_prompt: int, keep: int, with_gold: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    progress = step / last
    mean_alignment, mean_realism, proxy, artifact = STORIES[story](progress)
    kl = 7.0 * progress**1.5 * (0.8 if story == "guarded" else 1.0)
    rows = []
    for index in range(len(prompts) * per_prompt):
        # seeded by step and index, not by story: step 0 is the same base policy in every run
        rng = np.random.default_rng([step, index])
        number = index // per_prompt
        z = rng.normal(size=6)
        alignment = float(np.clip(mean_alignment + 0.10 * ease[number] + 0.16 * z[0], 0, 1))
        realism = float(np.clip(mean_realism + 0.10 * z[1], 0, 1))
        merit = (alignment * realism - 0.64) / 0.2 * max(0.0, 1 - progress)
        scores: dict[str, float | None] = {
            "hps-pocket": 0.27 + 0.02 * (proxy + 0.6 * merit + 0.8 * z[2]),
            "aesthetic-pocket": 5.1 + 0.4 * (1.2 * proxy + 0.2 * merit + z[3]),
            "artifact-pocket": 1 / (1 + math.exp(-(1.0 + artifact + 0.5 * merit + 0.6 * z[4]))),
            "pickscore-pocket": 21.0 + 0.8 * (0.35 * proxy + 0.5 * merit + 0.9 * z[5]),
        }
        reward = (float(scores["hps-pocket"] or 0) - 0.27) / 0.02 + 0.3 * (
            float(scores["aesthetic-pocket"] or 0) - 5.1
        ) / 0.4
        if story == "guarded":
            reward += (float(scores["artifact-pocket"] or 0) - 0.71) / 0.15
        row: dict[str, Any] = {"step": step, "split": "eval", **prompts[number], "index": index, "image": None,
                               "scores": scores, "reward": reward, "kl": kl + 0.3 * progress * z[0]}  # fmt: skip
        if with_gold:
            scores |= {"gold": alignment * realism, "gold_alignment": alignment, "gold_realism": realism}
        if index % 37 == 5:
            scores["pickscore-pocket"] = None
            row["reasons"] = {"pickscore-pocket": "the image could not be decoded"}
        if index < keep:
            row["image"] = f"images/step_{step:06d}/eval_{index:04d}.png"
            path = folder / row["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            mess = {"hacked": 6, "guarded": 2, "collapsed": 1, "honest": 0}[story] * progress
            spoil = {"hacked": 0.5, "guarded": 0.08, "collapsed": 1.0, "honest": 0.0}[story] * progress
            _scene(np.random.default_rng(index), extra=round(mess), spoil=spoil).save(path)
        rows.append(row)
    return rows


def _scene(rng: np.random.Generator, *, extra: int, spoil: float) -> Image.Image:
    image = Image.new("RGB", (64, 64), tuple(int(v) for v in rng.integers(205, 235, size=3)))
    draw = ImageDraw.Draw(image)
    warm = [COLOURS[name] for name in ("red", "orange", "yellow", "pink")]
    for k in range(1 + int(rng.integers(2)) + extra):
        colour = list(COLOURS.values())[rng.integers(len(COLOURS))] if k < 2 else warm[rng.integers(4)]
        x, y, r = (int(v) for v in (*rng.integers(10, 54, size=2), rng.integers(6, 12)))
        shape = SHAPES[rng.integers(3)]
        if shape == "circle":
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif shape == "square":
            draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=colour)
    pixels = np.asarray(image).astype(float)
    tiles = rng.uniform(size=(8, 8)).repeat(8, 0).repeat(8, 1)[..., None] < 0.6 * spoil
    pixels = np.where(tiles, np.roll(pixels, (17, 23), (0, 1)), pixels) + rng.normal(0, 4, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _metric_rows(rows: list[dict[str, Any]], steps: Sequence[int]) -> list[dict[str, Any]]:
    eval_rows = [
        {"step": step, "split": "eval", "num_samples": sum(row["step"] == step for row in rows), "seconds/look": 1.9}
        for step in steps
    ]
    train_rows = [
        {"step": step, "split": "train", "loss": 0.01, "unscored_frac": 0.0,
         "seconds/draw": 0.40, "seconds/score": 0.07, "seconds/gold": 0.05, "seconds/update": 0.33,
         "seconds/look": 0.0, "seconds/keep": 0.01}
        for step in range(1, steps[-1] + 1)
    ]  # fmt: skip
    return [*eval_rows, *train_rows]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
