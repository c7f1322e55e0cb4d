"""All parts of the pocket world in order: pictures, tokeniser, policy, annotated samples, proxies.

Each part leaves its files and a `part.json` (settings, seconds, held-out quality) in a folder of its own, written
last: a build that is killed continues with the first part that has none.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyrite.core.errors import RunFolderError
from pyrite.core.protocols import Policy, Reward
from pyrite.core.types import Prompt
from pyrite.world.build import cards, clip, data, detector, judge, pool, proxies, vq
from pyrite.world.build import policy as policy_training
from pyrite.world.prompts import sample_prompts

Quality = dict[str, float]
PartProgress = Callable[[str, int, int, Quality], None]


@dataclass(frozen=True)
class Scale:
    """How much work a build does; `SHIPPED` is what made the checkpoints in the package."""

    pictures: int = 30_000
    tokeniser_steps: int = 2_400
    decoder_steps: int = 900
    policy_steps: int = 1_200
    clip_steps: int = 1_500
    policy_prompts: int = 2_400
    rendered_prompts: int = 900
    preference_epochs: int = 2
    artifact_pictures: int = 4_000
    artifact_epochs: int = 8
    detector_pictures: int = 9_000
    detector_steps: int = 1_500
    judge_steps: int = 2_500


SHIPPED = Scale()
TINY = Scale(
    pictures=1_400,
    tokeniser_steps=20,
    decoder_steps=6,
    policy_steps=4,
    clip_steps=4,
    policy_prompts=10,
    rendered_prompts=10,
    preference_epochs=1,
    artifact_pictures=60,
    artifact_epochs=1,
    detector_pictures=40,
    detector_steps=2,
    judge_steps=2,
)


@dataclass(frozen=True)
class Neighbours:
    """What this room is told of those beside it, which it may not know.

    Args:
        load_policy: reads a finished policy checkpoint.
        load_reward: name and folder -> a finished reward, as its users load it.
        question: what a yes/no judge is asked.
    """

    load_policy: Callable[[Path], Policy]
    load_reward: Callable[[str, Path], Reward]
    question: judge.Question


@dataclass
class Build:
    """A build in a folder.

    Args:
        folder: where the parts go; the finished checkpoints are in `folder / "checkpoints"`.
        seed: of everything random.
        neighbours: policy and reward adapters.
        scale: how much work to do.
        device: where the networks train; the pictures stay on the CPU.
        progress: called with part, step, steps and running measures.
    """

    folder: Path
    seed: int
    neighbours: Neighbours
    scale: Scale = SHIPPED
    device: str = "cpu"
    progress: PartProgress = lambda part, step, steps, measures: None

    @property
    def checkpoints(self) -> Path:
        """Folder of the finished checkpoints."""
        return self.folder / "checkpoints"

    def part_folder(self, part: str) -> Path:
        """Where a part keeps its files."""
        return self.folder / part

    def done(self, part: str) -> dict[str, Any] | None:
        """The record of a finished part, or None."""
        record = self.part_folder(part) / "part.json"
        return json.loads(record.read_text()) if record.exists() else None

    def settings(self, part: str) -> dict[str, int]:
        """The seed, and how much work went into a part and into all that it builds on."""
        needed, waiting = set(PARTS[part].scale), list(PARTS[part].needs)
        while waiting:
            earlier = PARTS[waiting.pop()]
            needed.update(earlier.scale)
            waiting.extend(earlier.needs)
        return {"seed": self.seed, **{key: value for key, value in vars(self.scale).items() if key in needed}}

    def run(self, part: str) -> dict[str, Any]:
        """Do one part unless it is done; returns its record.

        Raises:
            RunFolderError: the part, or one that it needs, was built with another seed or scale, or not at all.
        """
        for need in PARTS[part].needs:
            if self.done(need) is None:
                raise RunFolderError(
                    f"the part '{part}' builds on '{need}', which {self.folder} does not have yet. Build it first: "
                    f"--only {need}, or leave --only out to build everything in order."
                )
            self._check_settings(need)
        record = self.done(part)
        if record is not None:
            self._check_settings(part)
            return record
        settings = self.settings(part)
        shutil.rmtree(self.part_folder(part), ignore_errors=True)
        self.part_folder(part).mkdir(parents=True)
        started = time.monotonic()
        quality = PARTS[part].make(self)
        if part in cards.CARDS:
            with self._alone():
                cards.publish(self.checkpoints, part, quality=quality, settings=settings)
        record = {"settings": settings, "seconds": round(time.monotonic() - started, 1), "quality": quality}
        (self.part_folder(part) / "part.json").write_text(json.dumps(record, indent=2) + "\n")
        return record

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While the manifest is rewritten, no other part that ends at the same time may do so."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _check_settings(self, part: str) -> None:
        record = self.done(part)
        found = record["settings"] if record else {}
        changed = [key for key, value in self.settings(part).items() if found.get(key) != value]
        if changed:
            raise RunFolderError(
                f"{self.part_folder(part)} was built with other settings ({', '.join(changed)}). Parts of two "
                "builds do not fit together: give --out another folder, or delete this one."
            )

    def report(self, part: str) -> vq.Progress:
        """The progress callback of one part."""
        return lambda step, steps, measures: self.progress(part, step, steps, measures)

    def images(self) -> Tensor:
        """(N, 3, 64, 64) bytes of the pre-training set."""
        array = np.load(self.part_folder("pictures") / "images.npy")
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()

    def rows(self) -> tuple[list[Prompt], list[list[str]]]:
        """Prompts and plans of the pre-training set."""
        lines = (self.part_folder("pictures") / "rows.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [Prompt.from_json(row["prompt"]) for row in rows], [row["plan"] for row in rows]

    def captions(self) -> tuple[list[Prompt], npt.NDArray[np.bool_]]:
        """Prompts of the pre-training set, and which of its pictures show what they ask for."""
        prompts, plans = self.rows()
        return prompts, np.array([data.keeps_its_prompt(*row) for row in zip(prompts, plans, strict=True)])

    def half_redrawn(self) -> Tensor:
        """The images of the pre-training set, every second one as the tokeniser's teacher draws it."""
        teacher, images, codes = self.network("tokeniser", vq.teacher_network()), self.images(), self.codes()
        for rows in torch.arange(0, len(images), 2).split(500):
            images[rows] = pool.through_teacher(teacher, codes[rows])
        return images

    def codes(self) -> Tensor:
        """(N, 64) image codes of the pre-training set."""
        return torch.from_numpy(np.load(self.part_folder("tokeniser") / "codes.npy")).long()

    def network(self, part: str, fresh: Any) -> Any:
        """A stored network; `fresh` is one of the same shape."""
        fresh.load_state_dict(load_file(self.part_folder(part) / "model.safetensors"))
        return fresh.eval().to(self.device)


HELD_OUT = 1000
"""Pictures at the end of the set that no part trains on."""


def _pictures(build: Build) -> Quality:
    folder = build.part_folder("pictures")
    report = build.report("pictures")
    drawn = data.draw_in_parallel(
        build.scale.pictures, build.seed, progress=lambda done, total: report(done, total, {})
    )
    np.save(folder / "images.npy", drawn.images)
    np.save(folder / "cells.npy", drawn.object_cells)
    rows = [{"prompt": p.to_json(), "plan": plan} for p, plan in zip(drawn.prompts, drawn.plans, strict=True)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"pictures": len(drawn)}


def _tokeniser(build: Build) -> Quality:
    images = build.images()
    teacher = vq.train_teacher(
        images[:-HELD_OUT],
        steps=build.scale.tokeniser_steps,
        seed=build.seed,
        progress=build.report("tokeniser"),
        device=build.device,
    )
    codes = vq.encode_all(teacher, images, native=False)
    np.save(build.part_folder("tokeniser") / "codes.npy", codes.short().numpy())
    save_file(teacher.state_dict(), build.part_folder("tokeniser") / "model.safetensors")
    shares = torch.bincount(codes.flatten(), minlength=vq.NUM_CODES).double() / codes.numel()
    perplexity = torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()).item()
    return {"perplexity": perplexity, **pool.reconstruction_quality(teacher, build.seed, native=False)}


def _decoder(build: Build) -> Quality:
    teacher = build.network("tokeniser", vq.teacher_network())
    native = vq.train_native(
        build.images()[:-HELD_OUT],
        build.codes()[:-HELD_OUT],
        teacher,
        steps=build.scale.decoder_steps,
        seed=build.seed,
        progress=build.report("decoder"),
        device=build.device,
    )
    save_file(native.state_dict(), build.part_folder("decoder") / "model.safetensors")
    return pool.reconstruction_quality(native, build.seed, native=True)


def _policy(build: Build) -> Quality:
    prompts, plans = build.rows()
    codebook = build.network("tokeniser", vq.teacher_network()).quantize.embedding.weight.detach()
    rows, codes = policy_training.token_rows(prompts, plans), build.codes()
    cells = torch.from_numpy(np.load(build.part_folder("pictures") / "cells.npy"))
    model = policy_training.train_policy(
        rows[:-HELD_OUT],
        codes[:-HELD_OUT],
        cells[:-HELD_OUT],
        codebook,
        steps=build.scale.policy_steps,
        seed=build.seed,
        progress=build.report("policy"),
        device=build.device,
    )
    held_out = slice(-HELD_OUT, None)
    save_file(model.state_dict(), build.part_folder("policy") / "model.safetensors")
    return policy_training.held_out_losses(model, rows[held_out], codes[held_out], cells[held_out])


def _janus(build: Build) -> Quality:
    native = build.network("decoder", vq.native_network())
    model = build.network("policy", policy_training.new_policy(native.quantize.embedding.weight.detach()))
    policy_training.save_policy(model, native, build.checkpoints / "janus-pocket")
    return pool.policy_quality(build.neighbours.load_policy(build.checkpoints / "janus-pocket"), build.seed)


def _pool(build: Build) -> Quality:
    rated = pool.rate(
        build.neighbours.load_policy(build.checkpoints / "janus-pocket"),
        build.network("decoder", vq.native_network()),
        policy_prompts=build.scale.policy_prompts,
        rendered_prompts=build.scale.rendered_prompts,
        seed=build.seed,
        progress=build.report("pool"),
    )
    pool.save(rated, build.part_folder("pool"))
    drawn = rated.from_policy
    return {
        "pictures": len(drawn),
        "policy_alignment": float(rated.alignment[drawn].mean()),
        "policy_realism": float(rated.realism[drawn].mean()),
    }


def _clip(build: Build) -> Quality:
    images, (prompts, true) = build.half_redrawn(), build.captions()
    learnt, held_out = np.nonzero(true[:-HELD_OUT])[0], len(true) - HELD_OUT + np.nonzero(true[-HELD_OUT:])[0]
    model = clip.train_clip(
        images[learnt],
        [prompts[row] for row in learnt],
        steps=build.scale.clip_steps,
        seed=build.seed + 11,
        progress=build.report("clip"),
        device=build.device,
    )
    save_file(model.state_dict(), build.part_folder("clip") / "model.safetensors")
    return clip.retrieval_quality(model, images[held_out], [prompts[row] for row in held_out])


def _preference(name: str, seed_offset: int, **taste: float) -> Callable[[Build], Quality]:
    def train(build: Build) -> Quality:
        rated = pool.load(build.part_folder("pool"))
        model = build.network("clip", clip.new_clip())
        proxies.train_preference(
            model,
            rated,
            proxies.utility(rated, **taste),
            epochs=build.scale.preference_epochs,
            seed=build.seed + seed_offset,
            progress=build.report(name),
        )
        clip.save_clip(model, build.checkpoints / name)
        return proxies.held_out_quality(proxies.preference_scores(model.float(), rated), rated)

    return train


def _aesthetic(build: Build) -> Quality:
    rated = pool.load(build.part_folder("pool"))
    model = build.network("clip", clip.new_clip())
    embedded = proxies.embed_pool(model, rated)
    weight, bias, correlation = proxies.fit_aesthetic_head(embedded, rated, vivid=0.8, seed=build.seed + 31)
    proxies.save_aesthetic(model, weight, bias, build.checkpoints / "aesthetic-pocket")
    scores = (embedded @ weight[0] + bias).double().numpy()
    return {"opinion_correlation": correlation, **proxies.held_out_quality(scores, rated)}


def _artifact(build: Build) -> Quality:
    native = build.network("decoder", vq.native_network())
    images, is_clean = pool.artifact_pictures(native, build.scale.artifact_pictures, build.seed)
    model, accuracy = proxies.train_artifact(
        images,
        is_clean,
        epochs=build.scale.artifact_epochs,
        seed=build.seed + 41,
        progress=build.report("artifact-pocket"),
        device=build.device,
    )
    model.half().save_pretrained(build.checkpoints / "artifact-pocket")
    clip.save_processor(build.checkpoints / "artifact-pocket", size_px=128)
    rated = pool.load(build.part_folder("pool"))
    unseen = proxies.clean_probability(model.float(), pool.unseen_damage(build.seed))
    caught = float((unseen < 0.5).mean())
    return {
        "accuracy": accuracy,
        "unseen_damage_caught": caught,
        **proxies.held_out_quality(proxies.clean_probability(model.float(), rated.images), rated),
    }


def _detector(build: Build) -> Quality:
    prompts = sample_prompts("rl", build.scale.detector_pictures, build.seed + 51)
    layouts = detector.draw_layouts(prompts, build.seed + 51)
    native = build.network("decoder", vq.native_network())
    layouts.images[::2] = pool.reconstruct(native, layouts.images[::2], native=True)
    learnt, held_out = layouts.split(len(prompts) // 10)
    model = detector.train_detector(
        build.network("clip", clip.new_clip()),
        learnt,
        steps=build.scale.detector_steps,
        seed=build.seed + 52,
        progress=build.report("detector-pocket"),
        device=build.device,
    )
    quality = detector.detection_quality(model, held_out, threshold=0.5)
    detector.save_detector(model, build.checkpoints / "detector-pocket")
    return {**quality, **_reward_quality(build, "detector-pocket")}


def _judge(build: Build) -> Quality:
    images, (prompts, keeps) = build.half_redrawn(), build.captions()
    model = judge.train_judge(
        build.network("clip", clip.new_clip()),
        build.neighbours.question,
        images[:-HELD_OUT],
        prompts[:-HELD_OUT],
        keeps[:-HELD_OUT],
        pool.load(build.part_folder("pool")),
        steps=build.scale.judge_steps,
        seed=build.seed + 53,
        progress=build.report("orm-pocket"),
        device=build.device,
    )
    judge.save_judge(model, build.neighbours.question, build.checkpoints / "orm-pocket")
    return _reward_quality(build, "orm-pocket")


def _reward_quality(build: Build, name: str) -> Quality:
    """How far a finished reward, loaded as its users load it, follows gold and its alignment."""
    rated = pool.load(build.part_folder("pool"))
    reward = build.neighbours.load_reward(name, build.checkpoints / name)
    prompts = [prompt for prompt in rated.prompts for _ in range(proxies.GROUP)]
    scores = reward.score([Image.fromarray(rows) for rows in rated.images.permute(0, 2, 3, 1).numpy()], prompts)
    return {**proxies.alignment_quality(scores.values, rated), **proxies.held_out_quality(scores.values, rated)}


@dataclass(frozen=True)
class Part:
    """One part of a build.

    Args:
        make: does the work in the part's folder; returns its held-out quality.
        needs: the parts whose files it reads.
        scale: the fields of `Scale` that it reads.
    """

    make: Callable[[Build], Quality]
    needs: tuple[str, ...] = ()
    scale: tuple[str, ...] = ()


PARTS: Mapping[str, Part] = {
    "pictures": Part(_pictures, scale=("pictures",)),
    "tokeniser": Part(_tokeniser, ("pictures",), ("tokeniser_steps",)),
    "decoder": Part(_decoder, ("tokeniser",), ("decoder_steps",)),
    "policy": Part(_policy, ("tokeniser",), ("policy_steps",)),
    "janus-pocket": Part(_janus, ("decoder", "policy")),
    "pool": Part(_pool, ("janus-pocket",), ("policy_prompts", "rendered_prompts")),
    "clip": Part(_clip, ("tokeniser",), ("clip_steps",)),
    "hps-pocket": Part(
        _preference("hps-pocket", 21, vivid=0.7, contrasty=0.2), ("pool", "clip"), ("preference_epochs",)
    ),
    "pickscore-pocket": Part(
        _preference("pickscore-pocket", 22, vivid=0.0, contrasty=0.6), ("pool", "clip"), ("preference_epochs",)
    ),
    "aesthetic-pocket": Part(_aesthetic, ("pool", "clip")),
    "artifact-pocket": Part(_artifact, ("decoder", "pool"), ("artifact_pictures", "artifact_epochs")),
    "detector-pocket": Part(_detector, ("decoder", "clip", "pool"), ("detector_pictures", "detector_steps")),
    "orm-pocket": Part(_judge, ("clip", "pool"), ("judge_steps",)),
}
