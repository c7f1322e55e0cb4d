"""`pyrite bench train`: how fast a step of GRPO is on this machine, beside a plain one and transformers' generate."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch

    from pyrite.core.types import Prompt
    from pyrite.policies.janus import JanusPolicy
    from pyrite.policies.plain_janus import PlainJanus
    from pyrite.training.step_speed import Stopwatch

_SIZES = ("pocket", "tiny", "1b")


def train(
    size: Annotated[str, typer.Option(help="pocket (own weights), tiny or 1b (random weights).")] = "pocket",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    dtype: Annotated[str, typer.Option(help="In which the language model computes: float32 or bfloat16.")] = "float32",
    prompts: Annotated[int, typer.Option(min=1, help="Prompts of a step.")] = 8,
    per_prompt: Annotated[int, typer.Option(min=2, help="Images for each of them.")] = 8,
    cfg_scale: Annotated[float, typer.Option(help="Guidance while sampling; 1 = none.")] = 1.0,
    micro_batch: Annotated[int, typer.Option(min=0, help="Rollouts per forward of an update; 0 = all.")] = 0,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Gradient checkpointing.")] = False,
    only_drawing: Annotated[bool, typer.Option("--only-drawing", help="Leave decoding and updates out.")] = False,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="The plain loop in the form of T2I-R1's trainer: 32 rows at a time.")
    ] = False,
    with_generate: Annotated[
        bool, typer.Option("--generate/--no-generate", help="Also transformers' generate.")
    ] = True,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each; the fastest counts.")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch on a CPU.")] = None,
    cpu_clock: Annotated[bool, typer.Option("--cpu-clock", help="Count processor seconds; for a shared CPU.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Tokens and images per second of a GRPO step, and beside the plain loop: own cache per sibling, whole logits.

    Rewards are left out. The floor is the time in which the weights and the cache can be read once per token.

    Examples: `pyrite bench train`,
    `pyrite bench train --size 1b --dtype bfloat16 --cfg-scale 5 --prompts 2 --only-drawing`
    """
    import time

    import torch

    from pyrite.core.errors import RecipeError
    from pyrite.policies.plain_janus import PlainJanus
    from pyrite.training.step_speed import Stopwatch

    if size not in _SIZES:
        raise RecipeError(f"there is no size '{size}' to measure. There is: {', '.join(_SIZES)}.")
    if threads is not None:
        torch.set_num_threads(threads)
    place = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device
    typer.echo(f"measuring {size} on {place}", err=True)
    policy = _policy(size, place, dtype, cfg_scale, checkpointing)
    texts = _prompts(prompts)
    watch = Stopwatch(torch.device(place), time.process_time if cpu_clock else time.perf_counter)
    row: dict[str, Any] = {
        "size": size, "device": place, "chip": _chip(place), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "dtype": dtype, "prompts": prompts, "per_prompt": per_prompt,
        "cfg_scale": cfg_scale, "micro_batch": micro_batch, "checkpointing": checkpointing,
        "plain": "as published" if as_published else "one batch", "clock": "processor" if cpu_clock else "wall",
    }  # fmt: skip
    plain = PlainJanus(policy, as_published)
    row |= _drawing(policy, plain, texts, per_prompt, rounds, watch, with_generate=with_generate)
    if not only_drawing:
        row |= _whole_step(policy, plain, texts, per_prompt, rounds, watch, micro_batch)
    if as_json:
        typer.echo(json.dumps(row))
    else:
        _print(row)


def _policy(size: str, device: str, dtype: str, cfg_scale: float, checkpointing: bool) -> "JanusPolicy":
    import torch

    from pyrite.policies.janus import load_janus
    from pyrite.policies.random_janus import random_janus

    if size == "pocket":
        return load_janus("janus-pocket", device=device, cfg_scale=cfg_scale, gradient_checkpointing=checkpointing)
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    return random_janus(size, device=device, dtype=precision, cfg_scale=cfg_scale, gradient_checkpointing=checkpointing)


def _prompts(num: int) -> "list[Prompt]":
    from pyrite.world.prompts import sample_prompts

    return sample_prompts("rl", num, 0)


def _chip(device: str) -> str:
    import platform

    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _drawing(
    policy: "JanusPolicy",
    plain: "PlainJanus",
    prompts: "list[Prompt]",
    group: int,
    rounds: int,
    watch: "Stopwatch",
    *,
    with_generate: bool,
) -> dict[str, Any]:
    """Tokens per second of drawing alone, without the decoder of images."""
    import numpy as np
    import torch

    from pyrite.training.step_speed import rngs_of

    rows = [prompt for prompt in prompts for _ in range(group)]
    generate = _generate(policy, plain, rows) if with_generate else None
    for number in range(rounds + 1):
        uniforms = np.concatenate(
            [rng.random((group, policy.card.num_tokens)) for rng in rngs_of(number, len(prompts))]
        )
        numbers = torch.from_numpy(uniforms.astype(np.float32)).clamp(max=1 - 2**-24)
        with watch("draw"), torch.inference_mode():
            policy.sequences.draw(policy._model, prompts, group, numbers)
        with watch("plain draw"):
            plain.draw_all(rows, seed=number)
        if generate is not None:
            with watch("generate"):
                generate()
        if number == 0:
            watch.seconds.clear()
            watch.peak_bytes.clear()
    tokens = len(rows) * policy.card.num_tokens
    floor = _floor_seconds(policy, len(rows), watch)
    found = {
        "rows": len(rows),
        "draw_tokens_per_second": round(tokens / watch["draw"], 1),
        "plain_draw_tokens_per_second": round(tokens / watch["plain draw"], 1),
        "draw_ratio": round(watch["plain draw"] / watch["draw"], 3),
        "draw_seconds": round(watch["draw"], 4),
        "floor_seconds": round(floor, 4),
        "floor_factor": round(watch["draw"] / floor, 2),
        **{f"peak_bytes {phase}": value for phase, value in watch.peak_bytes.items()},
    }
    if generate is not None:
        codes = len(rows) * (policy.card.num_tokens - policy.sequences.plan_tokens)
        found["generate_codes_per_second"] = round(codes / watch["generate"], 1)
    return found


def _generate(policy: "JanusPolicy", plain: "PlainJanus", rows: "list[Prompt]") -> "Callable[[], torch.Tensor]":
    """Transformers' own generation of image codes, from the same prefixes; it always computes both branches."""
    import copy

    import torch

    model = policy._model
    ids, pads = plain.prefixes(rows)
    if policy.sequences.plan_tokens:  # a plan is no part of what the library draws: codes follow the prompt
        ids[:, -1] = model.image_opener
    mask = (torch.arange(ids.shape[1], device=ids.device) >= pads[:, None]).long()
    compute = getattr(model, "compute", torch.float32)
    # Its static cache has the precision of the weights, so it is given weights in what the policy computes in.
    janus = model.janus if compute == torch.float32 else copy.deepcopy(model.janus).to(compute)
    scale = policy.sequences.sampling.cfg_scale

    @torch.inference_mode()
    def run() -> torch.Tensor:
        drawn: torch.Tensor = janus.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_mode="image",
            do_sample=True,
            guidance_scale=scale if scale != 1 else 1.0001,  # at 1 it fails
        )
        return drawn

    return run


def _floor_seconds(policy: "JanusPolicy", rows: int, watch: "Stopwatch") -> float:
    """Time to read, for every token drawn, the weights once and the keys and values that are there by then."""
    from pyrite.training.step_speed import measured_bandwidth

    model = policy._model
    body = model.janus.model.language_model
    width = getattr(model, "compute", body.norm.weight.dtype).itemsize
    weights = sum(weight.numel() for weight in body.layers.parameters()) * width
    weights += sum(weight.numel() * weight.element_size() for weight in model.janus.model.generation_head.parameters())
    branches = 1 if policy.sequences.sampling.cfg_scale == 1 else 2
    config, num = body.config, policy.card.num_tokens
    prefix = len(policy.layout.prompt_ids(_prompts(1))[0]) if policy.sequences.plan_tokens else 32
    per_position = 2 * len(body.layers) * config.num_key_value_heads * body.layers[0].self_attn.head_dim * width
    cache = per_position * rows * branches * (prefix + num / 2)
    speed = measured_bandwidth(watch.device, 2**32 if watch.device.type == "cuda" else 2**28)
    seconds: float = num * (weights + cache) / speed
    return seconds


def _whole_step(
    policy: "JanusPolicy",
    plain: "PlainJanus",
    prompts: "list[Prompt]",
    group: int,
    rounds: int,
    watch: "Stopwatch",
    micro_batch: int,
) -> dict[str, Any]:
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    import torch

    from pyrite.records.recipe import GrpoConfig
    from pyrite.training.learner import Learner
    from pyrite.training.processes import Processes
    from pyrite.training.step_speed import PlainUpdate, measure_step

    settings = GrpoConfig(
        steps=rounds + 1,
        prompts_per_step=len(prompts),
        num_generations=group,
        learning_rate=1e-6,
        micro_batch=micro_batch or None,
    )
    with tempfile.TemporaryDirectory() as scratch, Processes(policy.module) as processes:
        learner = Learner(policy, settings, processes, Path(scratch))
        reference: Any = learner.reference
        update = PlainUpdate(plain, replace(plain, policy=reference), policy.module, settings)
        measure_step(
            watch, policy=policy, learner=learner, plain=plain, plain_update=update, prompts=prompts,
            group_size=group, rounds=rounds,
        )  # fmt: skip
        codes = torch.zeros(
            (len(prompts) * group, policy.card.num_tokens - policy.sequences.plan_tokens),
            dtype=torch.long, device=watch.device,
        )  # fmt: skip
        for _ in range(rounds):
            with watch("decode"):
                policy.decode(codes)
    images, tokens = len(prompts) * group, len(prompts) * group * policy.card.num_tokens
    step, plain_step = watch["sample"] + watch["update"], watch["plain sample"] + watch["plain update"]
    return {
        "sample_images_per_second": round(images / watch["sample"], 3),
        "decode_images_per_second": round(images / watch["decode"], 2),
        "update_tokens_per_second": round(tokens / watch["update"], 1),
        "plain_update_tokens_per_second": round(tokens / watch["plain update"], 1),
        "sample_ratio": round(watch["plain sample"] / watch["sample"], 3),
        "update_ratio": round(watch["plain update"] / watch["update"], 3),
        "step_seconds": round(step, 3),
        "plain_step_seconds": round(plain_step, 3),
        "step_ratio": round(plain_step / step, 3),
        "step_frac": round(step / plain_step, 3),
        **{f"peak_bytes {phase}": value for phase, value in watch.peak_bytes.items()},
        **({} if watch.peak_bytes else {"peak_bytes": _peak_memory()}),
    }


def _peak_memory() -> int:
    from pyrite.evaluation.throughput import peak_memory_bytes

    return peak_memory_bytes()


def _print(row: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "value")
    for key, value in row.items():
        table.add_row(key.replace("_", " "), str(value))
    Console(file=sys.stdout).print(table)
