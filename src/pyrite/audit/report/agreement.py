"""Whether scores agree with gold: rank correlations before and after training, and best-of-n without training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.audit.analysis import Audited, Comparison
from pyrite.audit.curves import GOLD_NAMES, Curve, prompt_resamples
from pyrite.audit.report import charts
from pyrite.audit.report.charts import Chart, Line
from pyrite.core.errors import RunFolderError
from pyrite.core.types import FloatArray
from pyrite.stats.best_of_n import best_of_n_curves
from pyrite.stats.ranks import spearman

Section = dict[str, Any]


def correlation(comparison: Comparison) -> Section:
    """Rank correlation matrices: the first run before and after, then the other runs after."""
    first = comparison.first
    steps = first.run.samples.step_values
    names = _compared_names(first)
    if len(names) < 2:
        return {"notes": ["Only one score was recorded, so there is nothing to correlate."], "charts": []}
    views = [(first, steps[0])]
    if len(steps) > 1:
        views += [(item, item.run.samples.step_values[-1]) for item in comparison.runs]
    notes = [] if "gold" in names else ["Gold was not recorded, so the matrices show agreement among proxies only."]
    made = []
    for k, (item, step) in enumerate(views):
        figure = charts.heat_map(names, correlation_matrix(item, names, step))
        caption = f"Over {int((item.run.samples.steps == step).sum())} samples of step {step}."
        if k == 0 and "gold" in names:
            caption += " Read the gold row first: it says which scores know something about gold."
        made.append(Chart(f"correlation-{k}", figure, f"{item.name}, step {step}", caption, 130 + 40 * len(names)))
    return {"notes": notes, "charts": made}


def correlation_matrix(item: Audited, names: Sequence[str], step: int) -> FloatArray:
    """(K, K) Spearman correlations over the samples of one step that both scores judged; NaN where undefined."""
    samples = item.run.samples.at(step)
    nothing = np.full(len(samples), np.nan)
    columns = [samples.scores.get(name, nothing) for name in names]
    return np.array([[spearman(a, b) for b in columns] for a in columns], dtype=np.float64)


def best_of_n(path: Path | None) -> Section:
    """Gold and the selector's own score of the image each selector would choose among n, over n.

    The file holds `{"scores": {name: [[...], ...]}}`: for each score a P x N matrix over P prompts and N base-policy
    samples, null where unscored; "gold" among them for the gold curve. See `read_best_of_n`.
    """
    if path is None:
        return {"notes": ["Best-of-n was not measured for this report."], "charts": []}
    scores = read_best_of_n(path)
    num_prompts, num_samples = next(iter(scores.values())).shape
    ns = [2**k for k in range(int(np.log2(num_samples)) + 1)]
    notes, made = [], []
    if "gold" in scores:
        lines = _selector_lines(scores, dict.fromkeys(scores, scores["gold"]), ns)
        figure = charts.best_of_n(lines, y_title="gold of the chosen image")
        caption = (
            "A selector one can trust climbs with n towards the dotted line, gold's own choice; one that turns down is "
            f"being over-optimised. {num_prompts} prompts with {num_samples} images each."
        )
        key = tuple(line.key for line in lines)
        made.append(Chart("best-of-n-gold", figure, "What gold says of the choice", caption, 360, key))
    else:
        notes.append("Gold was not recorded for best-of-n, so only the selectors' own scores are shown.")
    proxies = {name: matrix for name, matrix in scores.items() if name not in GOLD_NAMES}
    lines = _selector_lines(proxies, {name: _standardised(matrix) for name, matrix in proxies.items()}, ns)
    if lines:
        figure = charts.best_of_n(lines, y_title="selector's own score, sd")
        caption = "Every selector is pleased with its own choice: this always rises, whatever the images look like."
        key = tuple(line.key for line in lines)
        made.append(Chart("best-of-n-proxy", figure, "What the selector says of it", caption, 360, key))
    return {"notes": notes, "charts": made}


def read_best_of_n(path: Path) -> dict[str, FloatArray]:
    """Score matrices (P, N) by name, NaN where unscored.

    Raises:
        RunFolderError: not JSON, no "scores", or matrices of different or ragged shapes.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(name): np.array(rows, dtype=np.float64) for name, rows in table["scores"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunFolderError(
            f"{path} is not a best-of-n file ({type(error).__name__}: {error}). It needs "
            '{"scores": {name: P rows of N numbers}}; measure it again or leave best_of_n out.'
        ) from error
    shapes = sorted({matrix.shape for matrix in scores.values()})
    if len(shapes) != 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        raise RunFolderError(
            f"{path}: every score needs a matrix of the same shape (prompts, samples), got {shapes}. Otherwise the "
            "image one score chooses cannot be looked up in another. Measure it again or leave best_of_n out."
        )
    return scores


def chosen_curve(selector: FloatArray, value: FloatArray, ns: Sequence[int]) -> Curve:
    """Mean `value` of the image that `selector` likes best among n, over n, resampled over prompts.

    Args:
        selector: (P, N) scores; an image without one, or without a value, is never drawn.
        value: (P, N) what is read off the chosen image.
        ns: group sizes, at most N.
    """
    num_prompts, num_samples = selector.shape
    prompts = np.arange(num_prompts).repeat(num_samples)
    value_PS = best_of_n_curves(selector.ravel(), value.ravel(), prompts, ns).gold_PS
    known_PS = np.isfinite(value_PS)  # a prompt with fewer than n scored images says nothing about n
    weights = prompt_resamples(num_prompts)
    total_PS = np.where(known_PS, value_PS, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total_PS.sum(axis=0) / known_PS.sum(axis=0)
        draws = (weights @ total_PS) / (weights @ known_PS.astype(np.float64))
    return Curve(np.array(ns, dtype=np.int64), mean, draws)


def _selector_lines(
    selectors: Mapping[str, FloatArray], values: Mapping[str, FloatArray], ns: Sequence[int]
) -> list[Line]:
    lines = []
    proxies = [name for name in selectors if name not in GOLD_NAMES]
    for k, name in enumerate(proxies):
        colour = charts.REWARD_COLOURS[k % len(charts.REWARD_COLOURS)]
        marker = charts.RUN_MARKERS[k % len(charts.RUN_MARKERS)]
        lines.append(Line(f"by {name}", chosen_curve(selectors[name], values[name], ns), colour, marker=marker))
    if "gold" in selectors:
        oracle = chosen_curve(selectors["gold"], values["gold"], ns)
        lines.append(Line("by gold itself", oracle, charts.GOLD, dash="dot", marker="diamond", is_open=True))
    return lines


def _standardised(matrix: FloatArray) -> FloatArray:
    scaled: FloatArray = (matrix - np.nanmean(matrix)) / np.nanstd(matrix, ddof=1)
    return scaled


def _compared_names(item: Audited) -> list[str]:
    scores = list(item.run.samples.scores)
    trained = [name for name in item.run.trained_names if name in scores]
    others = [name for name in scores if name not in trained and name not in GOLD_NAMES]
    return [*(["gold"] if "gold" in scores else []), *trained, *others]
