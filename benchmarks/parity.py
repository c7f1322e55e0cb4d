"""Compare the published rewards with their official codes: `python benchmarks/parity.py` writes a page of the docs.

The page is docs/reference/parity.md. Every golden image and prompt goes through the reward as a user would load it:
the official file, its preprocessing and its vocabulary, which lies outside the repository (PYRITE_SHARED_DATA, or
../shared/data). The numbers for `src/pyrite/rewards/measured.py` are printed.
"""

import argparse
import datetime
import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import pyrite
from pyrite.rewards.chat import NO_ID
from pyrite.rewards.gdino import GDinoReward
from pyrite.rewards.gdino_pixels import DetectorPixels
from pyrite.rewards.gdino_text import read_nouns
from pyrite.rewards.git_vqa import GitReward
from pyrite.rewards.images import as_rgb
from pyrite.rewards.llava_pixels import padded_pixels
from pyrite.rewards.llava_weights import load_model as load_llava_model
from pyrite.rewards.maniqa import ManiqaReward, cut
from pyrite.rewards.orm import OrmReward, orm_reward
from pyrite.rewards.pixels import PixelPreparation
from pyrite.rewards.preprocessing import hf_pixels, hpsv2_pixels, openai_pixels
from pyrite.rewards.squares import square_pixels

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("PYRITE_SHARED_DATA", ROOT.parent / "shared" / "data"))
PAGE = ROOT / "docs" / "reference" / "parity.md"
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Case:
    """A reward, its fixture, and where the fixture keeps what the official code gave.

    Args:
        title: of its row, and its name in `measured.py`.
        name: of the reward.
        fixture: folder under goldens/.
        key: of the official score of an image.
        tolerance: key of the fixture's tolerance.
        options: of the factory; a value that begins with "./" is a path in the fixture.
        pipeline: of its images.
    """

    title: str
    name: str
    fixture: str
    key: str
    tolerance: str
    options: dict[str, Any]
    pipeline: Any

    @property
    def folder(self) -> Path:
        """The fixture."""
        return SHARED / "goldens" / self.fixture


# clip_vision/config.json of the fixture, which the official files do not hold
VQASCORE_TOWER = {
    "vision": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "patch_size": 28,
    }
}


def git_pixels(image: Image.Image) -> np.ndarray:
    """GIT's own preprocessing, which lies beside its weights."""
    return PixelPreparation.load(SHARED / "goldens" / "git")(image)


CASES = (
    *(
        Case(
            name,
            name,
            "hpsv2",
            "score",
            "score_abs",
            {"weights": "./HPS_v2.1_compressed.pt", "config": True},
            hpsv2_pixels,
        )
        for name in ("hpsv2.0", "hpsv2.1")
    ),
    Case("pickscore", "pickscore", "pickscore", "score", "score_abs", {"weights": "./"}, hf_pixels),
    Case(
        *("pickscore (cosine)", "pickscore", "pickscore", "cosine", "cosine_abs"),
        {"weights": "./", "scale": "cosine"},
        hf_pixels,
    ),
    Case("clipscore", "clipscore", "clipscore", "score", "score_abs", {"weights": "./clip_hf"}, openai_pixels),
    *(
        Case(
            *(f"aesthetic-{version}", f"aesthetic-{version}", "aesthetic", version, f"{version}_abs"),
            {"weights": "./", "tower": "./clip_hf"},
            openai_pixels,
        )
        for version in ("v1", "v2")
    ),
    Case(
        "imagereward",
        "imagereward",
        "imagereward",
        "score",
        "score_abs",
        {"weights": "./", "config": True},
        openai_pixels,
    ),
    Case("maniqa", "maniqa", "maniqa", "score", "score_abs", {"weights": "./", "config": True}, None),
    Case(
        *("gdino", "gdino", "groundingdino", "score", "score_abs"),
        {"weights": "./", "config": True, "tokenizer": "./bert", "mode": "reference"},
        DetectorPixels(),
    ),
    Case("git", "git", "git", "score", "score_abs", {"weights": "./", "mode": "reference"}, git_pixels),
    *(
        Case(
            *(name, name, "vqascore", "score", "score_abs"),
            {"weights": "./pytorch_model.bin", "tokenizer": "./flan_t5_tokenizer", "config": VQASCORE_TOWER},
            functools.partial(square_pixels, size=336),
        )
        for name in ("vqascore", "vqascore-xl")
    ),
    Case("deqa", "deqa", "deqa", "score", "score_abs", {"weights": "./"}, functools.partial(square_pixels, size=448)),
    Case(
        *("orm", "orm", "orm_llava_onevision", "score_T0_3", "score_abs"),
        {},
        functools.partial(padded_pixels, side=384),
    ),
)


@dataclass(frozen=True)
class TwoAnswers:
    """Stands in for the tokenizer that ORM's fixture has none of: two ids mean yes and no."""

    yes: int
    no: int
    pad_id: int = 0

    def token(self, name: str) -> int:
        """The id of an answer."""
        return self.yes if name == "yes" else self.no

    def words(self, text: str) -> list[int]:
        """Not asked: the fixture gives questions as ids."""
        raise NotImplementedError(text)

    def text(self, ids: Any) -> str:
        """The ids themselves."""
        return str(ids)


def orm(case: Case, dtype: str) -> OrmReward:
    """ORM on its fixture."""
    said = json.loads((case.folder / "fixture.json").read_text())
    tower = {**said["vision"], "num_hidden_layers": said["vision"].pop("layers_in_checkpoint")}
    model, _ = load_llava_model(
        "orm",
        case.folder / "model.safetensors.index.json",
        config={"vision": {key: value for key, value in tower.items() if key != "layers_in_checkpoint"}},
        device=torch.device("cpu"),
        dtype=getattr(torch, dtype),
    )
    return orm_reward(model, TwoAnswers(said["yes_id"], said["no_id"]), "fixture")


def load(case: Case, dtype: str) -> Any:
    """The reward on the fixture's weights."""
    if case.name == "orm":
        return orm(case, dtype)
    options = {
        key: case.folder / value if isinstance(value, str) and value.startswith("./") else value
        for key, value in case.options.items()
    }
    if options.get("config") is True:
        options["config"] = json.loads((case.folder / "config.json").read_text())
    return pyrite.load_reward(case.name, device="cpu", dtype=dtype, **options)


def score(reward: Any, rows: list[dict[str, Any]], case: Case) -> np.ndarray:
    """The scores of the fixture's images and prompts, or of the official crops."""
    images = [Image.open(case.folder / "images" / row["image"]) for row in rows]
    if isinstance(reward, ManiqaReward):
        with torch.inference_mode():
            crops = [cut(as_rgb(image), row["crops_top_left"], 224) for image, row in zip(images, rows, strict=True)]
            return np.array([float(reward.score_crops(torch.from_numpy(one)).mean()) for one in crops])
    asked = case.folder / "prompts.json"
    if isinstance(reward, OrmReward):
        room = [NO_ID] * reward.model.padded_tokens
        given = [row["input_ids"] for row in json.loads(asked.read_text())]
        ids = [[id_ for one in row for id_ in (room if one == -200 else [one])] for row in given]
        return reward.rate(images, ids).values
    texts = json.loads(asked.read_text()) if asked.is_file() else [""] * len(images)
    prompts = [
        pyrite.Prompt(text) if isinstance(text, str) else pyrite.Prompt.from_json({**text, "prompt": "described"})
        for text in texts
    ]
    return reward.score(images, prompts).values


def pixel_error(case: Case, rows: list[dict[str, Any]]) -> str:
    """Largest difference over the probes of every image."""
    if case.pipeline is None:
        return "crops given"
    largest = 0.0
    for row in (row for row in rows if "pixels" in row):
        flat = case.pipeline(Image.open(case.folder / "images" / row["image"])).ravel()
        middle, probe = flat.size // 2, row["pixels"]
        found = np.concatenate([flat[:6], flat[middle : middle + 6], [flat.mean(dtype=np.float64)]])
        largest = max(largest, np.abs(found - [*probe["first"], *probe["middle"], probe["mean"]]).max())
    return f"{largest:.0e}" if largest else "0"


def wrong_ids(reward: Any, case: Case, rows: list[dict[str, Any]]) -> str:
    """How many prompts come out as other ids."""
    if not reward.card.reads_prompt:
        return "-"
    if isinstance(reward, OrmReward):
        return "given"
    if isinstance(reward, GDinoReward):
        nouns = [row["nouns"] for row in json.loads((case.folder / "prompts.json").read_text())]
        pairs = [(read_nouns(reward.tokenizer, asked, "reference"), row) for asked, row in zip(nouns, rows, strict=True)
                 if "token_ids" in row]  # fmt: skip
        return f"{sum(list(caption.ids) != row['token_ids'] for caption, row in pairs)} of {len(pairs)}"
    if isinstance(reward, GitReward):
        questions = [question for row in rows for question in row["questions"]]
        ids = reward.reader.ids([question["text"] for question in questions])
        wrong = sum(one[:-1] != question["input_ids"] for one, question in zip(ids, questions, strict=True))
        return f"{wrong} of {len(questions)}"
    prefix, wrong = getattr(reward, "prefix", ""), 0
    for row, text in zip(rows, json.loads((case.folder / "prompts.json").read_text()), strict=True):
        official = row.get("token_ids") or row["input_ids"]
        real = row.get("attention_mask", [1] * len(official))
        expected = [token for token, mask in zip(official, real, strict=True) if mask]
        (ids,) = reward.reader.ids([prefix + text])
        wrong += (reward.reader.cut(ids) if hasattr(reward.reader, "cut") else ids) != expected
    return f"{wrong} of {len(rows)}"


def rounded_up(error: float) -> float:
    """Two digits, never less than what was measured."""
    digits = f"{error:.1e}"
    return float(digits) if float(digits) >= error else float(f"{error * 1.05:.1e}")


def main() -> None:
    """Measure, print the table for `measured.py` and write the page."""
    parser = argparse.ArgumentParser(description="Measure the difference from the official codes.")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--only", nargs="*", help="measure these rewards and keep the other rows of the page")
    options = parser.parse_args()
    page, only = options.out, options.only
    if not SHARED.is_dir():
        sys.exit(f"the vocabularies are not in {SHARED}: name their folder in PYRITE_SHARED_DATA")
    lines, errors = [], {}
    kept = (
        {line.split("`")[1]: line for line in page.read_text().splitlines() if line.startswith("| `")} if only else {}
    )
    for case in CASES:
        if only and case.name not in only:
            lines += [kept[case.title]] if case.title in kept else []
            continue
        said = json.loads((case.folder / "scores.json").read_text())
        rows = [row for row in said.get("per_image") or said["per_case"] if "official_error" not in row]
        official = np.array([row[case.key] for row in rows])
        rewards = {dtype: load(case, dtype) for dtype in DTYPES}
        found = {dtype: float(np.abs(score(reward, rows, case) - official).max()) for dtype, reward in rewards.items()}
        errors[case.title] = {dtype: rounded_up(error) for dtype, error in found.items()}
        exact = rewards["float32"]
        lines.append(
            f"| `{case.title}` | {exact.card.upstream} | {len(rows)} | {pixel_error(case, rows)} | "
            f"{wrong_ids(exact, case, rows)} | {errors[case.title]['float32']:.1e} | "
            f"{said['tolerance'][case.tolerance]:.0e} | {errors[case.title]['bfloat16']:.1e} | "
            f"{errors[case.title]['float16']:.1e} |"
        )
    print(json.dumps(errors, indent=4))
    page.write_text(HEAD.format(date=datetime.date.today(), torch=torch.__version__) + "\n".join(lines) + TAIL)
    print(f"wrote {page}", file=sys.stderr)


HEAD = """# Parity with the official codes

How far the published rewards are from the codes their authors published, given the same weights. Made by
`python benchmarks/parity.py` on {date} (torch {torch}, CPU, one thread); the tests in `tests/rewards/test_parity_*.py`
hold every row.

The fixtures are tiny random checkpoints in the official file formats, with eight images (square, off by a few pixels,
small, large, grey, palette, transparent, nearly constant) and eight prompts (curly quotes, HTML entities, more than 77
tokens, capitals, Japanese and emoji, blank, odd spaces). The official code itself gave the scores, in float32 on a CPU.
*Pixels* is the largest difference of the model's input over the fixtures' probes, *ids* the prompts read as other
tokens, *error* the largest difference of a score. bfloat16 and float16 are errors of those models against the same
float32 scores; lengths and products are computed in float32 there too. The tiny models make them pessimistic: in a
wide one more products are averaged.

| reward | official code | images | pixels | ids | error | tolerance | bfloat16 | float16 |
|---|---|---|---|---|---|---|---|---|
"""

TAIL = """

Notes.

- `hpsv2.0` and `hpsv2.1` are one network with two files; the fixture holds one file, loaded under both names.
- `maniqa` is fed the crops the official code drew. By itself it draws them from the image's own pixels, so that an
  image has one score. Its weighted mean is ill-conditioned with random weights: half precision looks worse than it is.
- The official HPSv2 code crashes on transparent images and on those whose longest side is exactly 224 while the other
  is not: here the first are converted to RGB, and the second get their bars.
- `orm` is fed the ids of its fixture, which has no tokenizer, and read at the reference's temperature of 0.3; the
  reference samples a token there, and what it samples is no part of the comparison. The fixture also holds the tiled
  images of `unifiedreward`: pixels to the bit, logits to 2e-6 (`tests/rewards/test_orm.py`). There is no official run
  of `unifiedreward` itself.
- `gdino` and `git` are compared in their mode `reference`, with every defect of the published code (see
  [reference defects](reference-defects.md)); their rows are cases of image and metadata. A detector's score jumps where
  a box crosses the threshold of 0.3: on random weights half precision moves many boxes across it, so those two columns
  say that an image's score can be any other, and not how often that happens with real weights. Use float32.
- A prompt that spells out a special token ("<|endoftext|>", "[SEP]") is read as those characters. OpenAI's CLIP,
  PickScore and ImageReward obey the token instead.
- On a GPU the official HPSv2 code computes in float16 throughout, which rounds its scores to multiples of 1.2e-4 to
  2.4e-4.
- `vqascore` and `vqascore-xl` are one architecture at two widths, held by one fixture; a prompt that spells out
  "<image>", "</s>" or "<extra_id_0>" is read as those characters, and one of more than 2,048 tokens is unscored (the
  official code cuts off the end of the question). Its half precision is official only as bfloat16.
- `deqa` reads no prompt. Its official precision is float16.
- Real weights: `pytest -m weights` compares ImageReward with the four scores of its README and the improved aesthetic
  predictor with five published ones, where the weights are on disk.
"""

if __name__ == "__main__":
    main()
