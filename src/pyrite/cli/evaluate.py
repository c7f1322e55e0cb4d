"""`pyrite evaluate`: a benchmark on one set of images, or two sets of images against each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

_List = list[str] | None


def evaluate(
    images: Annotated[
        list[str],
        typer.Argument(help="Images as for `pyrite score`, or what draws them: a policy, a run folder, RUN@STEP."),
    ],
    benchmark: Annotated[str, typer.Option(help="A name of `pyrite list benchmarks`.")] = "",
    source: Annotated[
        list[Path] | None, typer.Option(help="Official files of the benchmark, or the folder that holds them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything that comes of it.")] = None,
    step: Annotated[str, typer.Option(help="Only this: generate, judge or aggregate.")] = "",
    export: Annotated[
        Path | None, typer.Option(help="Only write the images here, named as the official code wants them.")
    ] = None,
    official: Annotated[
        bool, typer.Option("--official", help="IMAGES are result files that the official code wrote: add them up.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="How often each image is judged.")] = 1,
    number: Annotated[
        int | None, typer.Option(min=1, help="Which image of each prompt counts, from 1, where there are several.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Folder of another evaluation, to stand beside this one.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Who looks, in a benchmark that needs a detector: mask2former or gdino.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Of the judge's server; $PYRITE_JUDGE_URL if left out.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model on that server.")] = None,
    settings: Annotated[
        _List, typer.Option("--set", help="Another option of the benchmark or its judge: concurrency=8.")
    ] = None,
    rewards: Annotated[str, typer.Option(help="Two sets: the rewards to compare them by.")] = "",
    match: Annotated[str, typer.Option(help="Two sets: what makes a pair: auto, id, prompt or name.")] = "auto",
    judge: Annotated[
        bool, typer.Option("--judge", help="Two sets: ask a judge, too, which of each pair is better.")
    ] = False,
    prompt: Annotated[str, typer.Option(help="Two sets: the prompt of images that bring none.")] = "",
    layout: Annotated[str | None, typer.Option(help="How images are laid out, instead of finding out.")] = None,
    limit: Annotated[int | None, typer.Option(help="Two sets: only so many images of each.")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that a model draws or sees at once.")] = 16,
    policy_set: Annotated[_List, typer.Option("--policy-set", help="An option of the policy: cfg_scale=5.")] = None,
    device: Annotated[str | None, typer.Option(help="Of models in this process: cpu or cuda.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of models in this process: float32 or bfloat16.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Two sets: file of the score store.")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Two sets: keep scores beside the results only.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is there and what is not; ask nobody.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The results as one JSON object instead of a table.")] = False,
) -> None:
    """Evaluate images by a published benchmark, or two sets of images against each other.

    Killed? The same command continues, and no answered question is asked again. Exit code 3 if prompts have no score.

    Examples: `pyrite evaluate drawn --benchmark wise-verified --source WISE --url http://127.0.0.1:8000/v1`,
    `pyrite evaluate before after --rewards "hpsv2.1,pickscore"`
    """
    from pyrite.cli.judge import settings_of

    chosen = settings_of(url, model, device, settings) | ({"detector": detector} if detector else {})
    if not benchmark:
        from pyrite.cli.evaluate_pair import evaluate_pair

        first, second = _two(images)
        evaluate_pair(
            first, second, rewards, out=out, match=match, prompt=prompt, layout=layout, limit=limit, judge=judge,
            judge_settings={key: value for key, value in chosen.items() if key != "device"}, device=device, dtype=dtype,
            batch_size=batch_size, cache=cache, no_cache=no_cache, as_json=as_json,
        )  # fmt: skip
        return
    from pyrite.cli.evaluate_benchmark import make_job

    job = make_job(images, benchmark, source or (), out, step, chosen, official=official)
    if job.draws:
        job = job.drawn(
            seed=seed, batch_size=batch_size, overrides=policy_set, device=device, dtype=dtype, dry_run=dry_run
        )
        if step == "generate" or dry_run:
            return
    if export is not None:
        job.export(export, layout=layout, number=number)
        return
    job.judge_and_add_up(
        layout=layout, number=number, repeats=repeats, against=against or (), dry_run=dry_run, as_json=as_json
    )


def _two(images: Sequence[str]) -> tuple[Path, Path]:
    from pyrite.core.errors import RecipeError

    if len(images) != 2:
        raise RecipeError(
            f"{len(images)} set{'s' if len(images) != 1 else ''} of images and no --benchmark: it is not clear what to "
            "measure. Name a benchmark (`pyrite list benchmarks`), or give two sets to compare."
        )
    return Path(images[0]), Path(images[1])
