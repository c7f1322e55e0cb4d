"""Group Relative Policy Optimisation of an image policy: the loop, from drawing to keeping.

How this differs from GRPO as published (DeepSeekMath, arXiv:2402.03300, algorithm 1) and T2I-R1 (arXiv:2505.00703):

1. The reference is the policy at step 0 throughout; DeepSeekMath moves it along between iterations.
2. The loss is a mean over all tokens of the batch (as T2I-R1's code), not a mean of per-sequence means.
3. Rewards are put on one scale by their values on the base policy before they are added up; T2I-R1 adds them raw.
4. An image without a score is left out by name (`grpo.unscored`); it never becomes a 0 among scored siblings.
5. With one update per batch, as in T2I-R1, the ratio is 1 and the clip idle; with more, it is that of DeepSeekMath.

Several processes give what one gives, up to rounding: `accelerate launch --config_file recipes/accelerate/ddp.yaml -m
pyrite train ...` shares the prompts of a step out by whole groups and divides the loss by the number of tokens of all.
Rewards and policy are loaded once per process; files are written by the main one, and a run is continued from a file
system that all see.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from pyrite.core.errors import CheckpointError, TrainingError
from pyrite.core.protocols import Reward, TrainablePolicy
from pyrite.core.types import Prompt
from pyrite.records.jsonl import write_json
from pyrite.records.recipe import Recipe
from pyrite.records.runs import RunFolder
from pyrite.records.samples import read_metrics
from pyrite.training.checkpoints import load_checkpoint, rescuing, save_checkpoint
from pyrite.training.draws import Purpose, generator, prompts_of_step
from pyrite.training.learner import Learner
from pyrite.training.logged import (
    STEP_PHASES,
    Diary,
    PhaseClock,
    Progress,
    sample_rows,
    seconds_per_phase,
    train_row,
)
from pyrite.training.looking import Looker, gather_divergence
from pyrite.training.memory import MemoryGuard
from pyrite.training.objectives import group_advantages
from pyrite.training.processes import Processes, TrainingStopped, listening_for_stop
from pyrite.training.readiness import refuse_prompts, refuse_too_few_prompts
from pyrite.training.scoring import Shaping, gather_table, score_gold, score_panel, trainable
from pyrite.training.tracking import Tracking

_TRANSFORMS = "transforms.json"
"""File of a run: name of a reward -> its transform with the scale it had on the base policy."""


def train(
    recipe: Recipe,
    *,
    policy: TrainablePolicy,
    rewards: Mapping[str, Reward],
    eval_rewards: Mapping[str, Reward],
    gold: Reward | None,
    prompts: Sequence[Prompt],
    eval_prompts: Sequence[Prompt],
    run: RunFolder | None,
    progress: Progress = lambda step, steps, row: None,
    trackers: Sequence[str] = (),
) -> dict[str, Any]:
    """Train `policy` on `rewards` as the recipe says, from the newest checkpoint of the run folder if it has one.

    Gold and `eval_rewards` are only looked at: no parameter depends on them.

    Args:
        recipe: what to do; the objects below are what its names stand for.
        policy: changed in place. Give it as it was at step 0, also to continue: it is the reference.
        rewards: name -> reward, for every name under `rewards` of the recipe.
        eval_rewards: name -> held-out reward, scored at every look.
        gold: scored at every look, and on the training batch every `gold_every` steps.
        prompts: to train on.
        eval_prompts: to look at.
        run: where everything is written; None on every process but the main one.
        progress: called on the main process with step, number of steps and each line of metrics.jsonl.
        trackers: of `TRACKERS`; they are shown each line too, and a grid of every look.

    Returns:
        What summary.json holds.

    Raises:
        TrainingStopped: Ctrl-C or SIGTERM; the step was finished and a checkpoint written.
        RewardError: a reward raises, or cannot be standardised.
        NonFiniteLossError: the loss became NaN or infinite.
        TrainingError: nothing to train on, a prompt that the policy cannot draw, no image of a step that has a reward,
            or not enough memory on the accelerator.
        MissingExtraError: a tracker that is not installed.
        CheckpointError: the checkpoint to continue from does not fit.
        RunFolderError: the folder cannot be written.
    """
    settings, size = recipe.grpo, recipe.grpo.num_generations
    if recipe.num_threads is not None:
        torch.set_num_threads(recipe.num_threads)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(policy.module))
        refuse_too_few_prompts(len(prompts), len(eval_prompts), settings.prompts_per_step, processes.count)
        refuse_prompts(policy, [*prompts, *eval_prompts])
        start = _Start.of(run, processes)
        if start.is_finished:
            return start.summary()
        tracking = stack.enter_context(Tracking.of(trackers, recipe, start.path, start.step, processes))
        diary = Diary(run, settings.steps, progress, tracking)
        clock = PhaseClock()
        memory = MemoryGuard(recipe, policy.card)
        stop = stack.enter_context(listening_for_stop())
        learner = stack.enter_context(Learner(policy, settings, processes, start.path))
        looker = Looker(recipe, learner, {**rewards, **eval_rewards}, gold, eval_prompts, processes)
        with memory("look"):
            shaping = _continue(recipe, start, learner) if start.checkpoint else _begin(recipe, looker, diary, clock)

        for step in range(start.step + 1, settings.steps + 1):
            # draw
            with memory("draw"), clock("draw"):
                chosen = prompts_of_step(len(prompts), settings.prompts_per_step, step=step, seed=recipe.seed)
                share = processes.share(len(chosen))
                rngs = [generator(recipe.seed, Purpose.DRAW, step=step, position=i) for i in share]
                with learner.engine.whole():
                    rollouts = policy.sample([prompts[chosen[i]] for i in share], group_size=size, rngs=rngs)
            clock.move("draw", "decode", getattr(policy, "decode_seconds", 0.0))

            # score
            with rescuing(run, learner, step - 1), memory("score"):
                with clock("score"):
                    scores = gather_table(score_panel(rewards, rollouts.images, rollouts.prompts), processes)
                if gold is not None and recipe.gold_every and step % recipe.gold_every == 0:
                    with clock("gold"):
                        logged = scores | gather_table(score_gold(gold, rollouts.images, rollouts.prompts), processes)
                else:
                    logged = scores

                # shape
                rewards_R = shaping(scores)
                kept_R = trainable(rewards_R, size, unscored=settings.unscored, scores=scores)

            # advantage
            advantages_R = group_advantages(
                torch.from_numpy(rewards_R), size,
                scale=settings.scale_rewards, ddof=settings.ddof, mask_R=torch.from_numpy(kept_R),
            )  # fmt: skip

            # update
            with memory("update"), clock("update"):
                own = slice(share.start * size, share.stop * size)
                update, divergence = learner.update(rollouts, advantages_R[own], kept_R[own], step=step)
                divergence = gather_divergence([divergence], processes)
            row = train_row(step, update, rewards_R, size, scores=logged, divergence=divergence)
            row |= {"images_per_s": round(len(rewards_R) / clock.total(*STEP_PHASES), 4)} | clock.take()

            # look
            is_last = step == settings.steps
            if is_look := is_last or step % recipe.evaluation.every == 0:
                with memory("look"), clock("look"):
                    looked = looker.look()
                look_seconds = clock.take()

            # keep
            with clock("keep"):
                samples = sample_rows(
                    step, "train", [prompts[i] for i in chosen for _ in range(size)],
                    scores=logged, rewards=rewards_R, kl=divergence.kl,
                    advantages=np.where(kept_R, advantages_R.numpy(), np.nan),
                )  # fmt: skip
                diary.write(row, samples)
                if is_look:
                    looker.keep(diary, step, looked, shaping(looked.scores), look_seconds)
                is_stopping = processes.any(bool(stop.name))
                if is_last or is_stopping or step % recipe.checkpoint.every == 0:
                    save_checkpoint(run, learner, step)
            if is_stopping and not is_last:
                raise TrainingStopped(
                    f"stopped by {stop.name or 'another process'} after step {step} of {settings.steps}; all of it is "
                    f"in {start.path}. The same command continues from there."
                )

        if run is not None:
            rows = [*read_metrics(run.path), clock.take()]
            run.finish({"steps": settings.steps, "seconds": seconds_per_phase(rows)})
        processes.gather(None)  # until the summary is there
        return start.summary()


@dataclass(frozen=True)
class _Start:
    """Where a run begins: the same for every process.

    Args:
        path: of the run folder.
        step: the last finished one; 0 for a new run.
        checkpoint: its folder; None for a new run.
        is_finished: nothing is left to do.
    """

    path: Path
    step: int
    checkpoint: Path | None
    is_finished: bool

    @classmethod
    def of(cls, run: RunFolder | None, processes: Processes) -> Self:
        told: dict[str, Any] = {}
        if run is not None:
            latest = run.resumed_from
            told = {"path": str(run.path), "step": latest.step if latest else 0, "is_finished": run.is_finished}
            told["checkpoint"] = str(latest.folder) if latest else None
        main = next((answer for answer in processes.gather(told) if answer), None)
        if main is None:
            raise TrainingError(
                "no process was given a run folder, so nothing would be written down. Open one on the main process: "
                "run=RunFolder.create_or_resume(path, recipe)"
            )
        checkpoint = Path(main["checkpoint"]) if main["checkpoint"] else None
        return cls(Path(main["path"]), main["step"], checkpoint, main["is_finished"])

    def summary(self) -> dict[str, Any]:
        """What a finished run says of itself."""
        summary: dict[str, Any] = json.loads((self.path / "summary.json").read_text(encoding="utf-8"))
        return summary


def _begin(recipe: Recipe, looker: Looker, diary: Diary, clock: PhaseClock) -> Shaping:
    """Look at the base policy, which gives every reward its scale."""
    with clock("look"):
        looked = looker.look()
    shaping = Shaping.fit(recipe, looked.scores)
    looker.keep(diary, 0, looked, shaping(looked.scores), clock.take())
    if diary.run is not None:
        write_json(diary.run.path / _TRANSFORMS, shaping.specs)
    return shaping


def _continue(recipe: Recipe, start: _Start, learner: Learner) -> Shaping:
    """Take the learner back to the checkpoint, with the scales the run began with."""
    assert start.checkpoint is not None
    load_checkpoint(start.checkpoint, learner)
    path = start.path / _TRANSFORMS
    try:
        specs = json.loads(path.read_text(encoding="utf-8"))
        return Shaping.from_specs(recipe, specs)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}), and without the scales of the rewards the run cannot "
            "go on as it began. Restore it, or start in another folder."
        ) from error
