"""`pyrite judge`: the judge of artifacts, its question, and how good it is."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyrite.cli import judge_optimise, judge_show

if TYPE_CHECKING:
    from pyrite.artifact.classified import Spent
    from pyrite.artifact.classify import Progress
    from pyrite.artifact.judges import RewardJudge
    from pyrite.core.types import Image
    from pyrite.records.store import ScoreStore

app = typer.Typer(help="The judge of artifacts: ask it, measure it, find it a better question.", no_args_is_help=True)
app.command("optimise")(judge_optimise.optimise)
app.command("show")(judge_show.show)
app.command("ladder")(judge_show.ladder)

JudgeName = Annotated[
    str, typer.Option("--judge", help="A reward in [0, 1] whose score is 1 - P(artifact): artifact-served, artifact...")
]
Question = Annotated[str, typer.Option(help="What to ask beside the image; ArtifactReward's question if left out.")]
QuestionFile = Annotated[Path | None, typer.Option(help="A text file with the question.")]
Url = Annotated[str | None, typer.Option(help="Of the judge's server; $PYRITE_JUDGE_URL if left out.")]
Model = Annotated[str | None, typer.Option(help="Name of the model on that server.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Another option of the judge: concurrency=8, mode=reference.")
]
Device = Annotated[str | None, typer.Option(help="Of a model in this process: cpu or cuda.")]
Cache = Annotated[
    Path | None, typer.Option(help="File of the score store; $PYRITE_CACHE or ~/.cache/pyrite if left out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line instead of tables.")]


@app.callback()
def judge() -> None:
    """The judge of artifacts: ask it, measure it, find it a better question."""


@app.command()
def ask(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    judge_name: JudgeName = "artifact-served",
    question: Question = "",
    question_file: QuestionFile = None,
    url: Url = None,
    model: Model = None,
    settings: Settings = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Ask a judge about image files, now: P(artifact), the likeliest first tokens, and the reason where there is none.

    Nothing is taken from the store, nothing is kept in it. Exit code 3 if no image got an answer.

    Examples: `pyrite judge ask photo.png --url http://127.0.0.1:8000/v1 --question "Is anything broken? YES or NO."`,
    `pyrite judge ask a.png b.png --judge artifact-pocket --json`
    """
    asked = the_question(question, question_file)
    found = load_judge(judge_name, None, settings_of(url, model, device, settings))
    opened, reasons = _open(images)
    seen = found.look(asked, list(opened.values()))
    rows: list[dict[str, Any]] = [{"image": str(path), "reason": why} for path, why in reasons.items()]
    for row, path in enumerate(opened):
        prob = float(seen.judged.prob_artifact[row])
        answer: dict[str, Any] = {"image": str(path), "prob_artifact": None if prob != prob else prob}
        answer["details"] = _plain({name: float(column[row]) for name, column in seen.judged.details.items()})
        if (tokens := seen.tokens.get(row)) is not None:
            answer["tokens"] = [[text, logp] for text, logp in tokens]
        rows.append(answer | ({"reason": why} if (why := seen.judged.reasons.get(row)) else {}))
    for answer in rows:
        typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else _in_words(answer))
    if not any(answer.get("prob_artifact") is not None for answer in rows):
        typer.echo(f"{len(rows)} images, and none got an answer: see the reasons above", err=True)
        raise typer.Exit(3)


@app.command()
def classify(
    curated: Annotated[Path, typer.Argument(metavar="SET", help="JSON lines with 'image' and 'label': 1 = artifacts.")],
    judge_name: JudgeName = "artifact-served",
    question: Question = "",
    question_file: QuestionFile = None,
    paraphrase: Annotated[
        list[str] | None, typer.Option(help="The question in other words, to ask besides; may be given several times.")
    ] = None,
    part: Annotated[str, typer.Option(help="What is measured: test, validation, train or all.")] = "test",
    shares: Annotated[str, typer.Option(help="Of the set for train, validation and test.")] = "0.6,0.2,0.2",
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    vary: Annotated[
        str, typer.Option(help="What to ask again with a change: question, position, size, jpeg; or none.")
    ] = "question,position,size,jpeg",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad entries of the set out, and count them.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; SET.judged if left out.")] = None,
    url: Url = None,
    model: Model = None,
    settings: Settings = None,
    device: Device = None,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Measure a judge on labelled images: accuracy, F1, AUC, calibration, and how firm its verdicts are.

    Killed? The same command continues, and no answered question is asked again. Exit code 3 if there is nothing to
    measure, because no image got an answer.

    Examples: `pyrite judge classify set.jsonl --url http://127.0.0.1:8000/v1 --question-file best.txt`,
    `pyrite judge classify set.jsonl --judge artifact-pocket --vary size,jpeg --json`
    """
    from pyrite.artifact.classified_files import PAGE, Request, refuse_other_results, write_results
    from pyrite.artifact.classify import classify as measure
    from pyrite.artifact.conditions import conditions
    from pyrite.artifact.data import load_curated, split_examples
    from pyrite.audit.report.judge_page import write_judge_page

    asked = the_question(question, question_file)
    varied = [] if vary.strip() == "none" else [part.strip() for part in vary.split(",") if part.strip()]
    to_vary = conditions(asked, varied, paraphrase or ())
    _refuse_other_part(part)
    three = the_shares(shares)
    examples = load_curated(curated, skip_bad=skip_bad)
    split = split_examples(examples.examples, shares=three, seed=seed)
    folder = out or curated.absolute().with_name(f"{curated.name}.judged")
    with open_store(cache) as store, _bar() as progress:
        found = load_judge(judge_name, store, settings_of(url, model, device, settings))
        request = Request(examples, split, three, seed, part, found.facts(asked), asked if found.asks else "")
        refuse_other_results(folder, request)
        if not found.deterministic:
            typer.echo(f"'{judge_name}' samples its replies, so none are kept: a killed run begins anew", err=True)
        done = measure(found, asked, split, part=part, varied=to_vary, progress=progress)
    results = write_results(folder, request, done)
    write_judge_page(folder, folder / PAGE)
    if as_json:
        typer.echo(json.dumps({**results, "spent": _plain(vars(done.spent))}, ensure_ascii=False))
    else:
        _print_classified(results)
    _tell(results, done.spent, folder)


def load_judge(name: str, store: "ScoreStore | None", settings: Mapping[str, Any]) -> "RewardJudge":
    """The judge of that name.

    Raises:
        UnknownNameError: no reward of that name.
        RecipeError: an option that it does not have.
        RewardError: it cannot be a judge, or a setting has no such value.
    """
    from transformers.utils import logging

    from pyrite.artifact.judges import reward_judge, served_judge
    from pyrite.rewards.catalogue import REWARDS

    logging.disable_progress_bar()
    if name == "artifact-served":
        return served_judge(store, **settings)
    factory = REWARDS.load(name)
    _refuse_unknown_options(name, factory, settings)
    return reward_judge(factory(**settings), store)


def _refuse_unknown_options(name: str, factory: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    import inspect

    from pyrite.core.errors import RecipeError

    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if takes_any or not (unknown := [key for key in settings if key not in parameters]):
        return
    raise RecipeError(
        f"'{name}' has no option called {' or '.join(unknown)}. Its options are {', '.join(parameters)}; an address "
        "and a model's name (--url, --model) are for a judge on a server: --judge artifact-served."
    )


def settings_of(
    url: str | None, model: str | None, device: str | None, overrides: Sequence[str] | None
) -> dict[str, Any]:
    """The options of a judge as they were given on the command line.

    Raises:
        RecipeError: a `--set` that is not of the form key=value.
    """
    from pyrite.core.errors import RecipeError
    from pyrite.records.recipe_file import apply_overrides

    given = {"base_url": url, "model": model, "device": device}
    settings: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if problems := apply_overrides(settings, overrides or ()):
        raise RecipeError("the judge's options cannot be read:" + "".join(f"\n  - {problem}" for problem in problems))
    return settings


def the_question(question: str, file: Path | None) -> str:
    """The question given, the one in the file, or ArtifactReward's.

    Raises:
        RecipeError: both are given, or the file cannot be read as text.
    """
    from pyrite.artifact.judges import DEFAULT_QUESTION
    from pyrite.core.errors import RecipeError

    if question and file is not None:
        raise RecipeError("--question and --question-file both say what to ask. Give one of them.")
    if file is None:
        return question or DEFAULT_QUESTION
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the question in {file} cannot be read ({error}). Give a text file in UTF-8.") from error
    if not text:
        raise RecipeError(f"{file} is empty, so there is nothing to ask. Write the question into it.")
    return text


def _refuse_other_part(part: str) -> None:
    from pyrite.artifact.classify import PARTS
    from pyrite.core.errors import RecipeError

    if part not in PARTS:
        raise RecipeError(f"--part {part} is no part of a split. Give {', '.join(PARTS)}.")


def the_shares(text: str) -> tuple[float, float, float]:
    """Shares of train, validation and test from "0.6,0.2,0.2".

    Raises:
        RecipeError: they are not three numbers that are not negative and sum to 1.
    """
    from pyrite.core.errors import RecipeError

    try:
        train, validation, test = (float(share) for share in text.split(","))
    except ValueError:
        train = validation = test = -1.0
    if min(train, validation, test) < 0 or abs(train + validation + test - 1) > 1e-6:
        raise RecipeError(
            f"--shares {text} are not the shares of train, validation and test: three numbers that sum to 1, such as "
            "0.6,0.2,0.2."
        )
    return train, validation, test


def _print_classified(results: Mapping[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    from pyrite.audit.report.judge_charts import METRIC_NAMES, interval

    numbers = Table(Column("metric", no_wrap=True), "value and 95 % interval", box=box.SIMPLE)
    for name, value in results["metrics"].items():
        numbers.add_row(METRIC_NAMES[name], interval(value))
    console = Console()
    console.print(numbers)
    asked = [one for one in results["conditions"] if "skipped" not in one]
    if not asked:
        return
    again = Table(Column("asked again", no_wrap=True), "AUC", "change", "verdicts turned", "no answer", box=box.SIMPLE)
    for one in asked:
        auc, change = one["metrics"]["roc_auc"], interval(one["change"]["roc_auc"], signed=True)
        turned = f"{one['turned']} of {one['both']}"
        again.add_row(one["name"], interval({**auc, "low": None}), change, turned, str(one["unscored"]))
    console.print(again)


def _spent_in_words(spent: "Spent") -> str:
    tokens = spent.prompt_tokens + spent.completion_tokens
    told = f"{spent.calls} questions asked now"
    if spent.calls and tokens == tokens:
        told += f", {tokens:.0f} tokens"
    if spent.calls and spent.cost_usd == spent.cost_usd:
        told += f", {spent.cost_usd:.4f} USD"
    return told


def _tell(results: Mapping[str, Any], spent: "Spent", folder: Path) -> None:
    """Notes on stderr: what is missing and why, what the temperature did, what was paid, where the results are."""
    notes = [f"note: {note}" for note in results["split"]["shortcomings"]]
    reasons = dict.fromkeys(value["reason"] for value in results["metrics"].values() if value["reason"])
    notes += [f"no interval: {why}" for why in reasons]
    notes += [
        f"{one['num']} without an answer, the first '{one['first']}': {one['reason']}" for one in results["unscored"]
    ]
    notes += [f"{one['name']} was not asked: {one['skipped']}" for one in results["conditions"] if "skipped" in one]
    calibration = results["calibration"]
    if calibration["temperature"] is None:
        notes.append(f"no temperature was fitted: {calibration['reason']}")
    else:
        bound = f" ({calibration['reason']})" if calibration["reason"] else ""
        notes.append(f"temperature fitted on validation: {calibration['temperature']:.3g}{bound}")
    for line in notes:
        typer.echo(line, err=True)
    typer.echo(f"{_spent_in_words(spent)}. Results and page: {folder}", err=True)


@contextmanager
def _bar() -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("asking", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


@contextmanager
def open_store(path: Path | None) -> Iterator["ScoreStore"]:
    """The score store at the path, or where it usually is."""
    from pyrite.records.store import ScoreStore, default_store_path

    with ScoreStore(path or default_store_path()) as store:
        yield store


def _open(paths: Sequence[Path]) -> tuple[dict[Path, "Image"], dict[Path, str]]:
    from pyrite.records.image_files import bombs_are_errors, decode, read_image_file

    opened: dict[Path, Image] = {}
    reasons: dict[Path, str] = {}
    with bombs_are_errors():
        for path in paths:
            file = read_image_file(path)
            image = file if isinstance(file, str) else decode(file)
            if isinstance(image, str):
                reasons[path] = image
            else:
                opened[path] = image
    return opened, reasons


def _plain(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in numbers.items()}


def _in_words(answer: Mapping[str, Any]) -> str:
    prob = answer.get("prob_artifact")
    lines = [f"{answer['image']}: " + ("no answer" if prob is None else f"P(artifact) = {prob:.4f}")]
    if why := answer.get("reason"):
        lines.append(f"  reason: {why}")
    if tokens := answer.get("tokens"):
        lines.append("  tokens: " + ", ".join(f"{text!r} {2.718281828459045**logp:.3g}" for text, logp in tokens))
    lines += [f"  {name}: {value:.4g}" for name, value in answer.get("details", {}).items() if value is not None]
    return "\n".join(lines)
