"""Whether scores agree with gold: rank correlations before and after training, and best-of-n without training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pyrite.audit.analysis import Audited, Comparison
from pyrite.audit.curves import GOLD_NAMES, Curve
from pyrite.audit.report import charts
from pyrite.audit.report.charts import Chart, Line
from pyrite.core.errors import RunFolderError
from pyrite.core.types import FloatArray

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
        matrix = correlation_matrix(item, names, step)
        caption = f"Over {int((item.run.samples.steps == step).sum())} samples of step {step}."
        if k == 0 and "gold" in names:
            caption += " Read the gold row first: it says which scores know something about gold."
        made.append(Chart(f"correlation-{k}", charts.heat_map(names, matrix), f"{item.name}, step {step}", caption, 130 + 40 * len(names)))
    return {"notes": notes, "charts": made}


def correlation_matrix(item: Audited, names: list[str], step: int) -> FloatArray:
    """(K, K) Spearman correlations over the samples of one step that both scores judged; NaN where undefined."""
    samples = item.run.samples.at(step)
    matrix = np.full((len(names), len(names)), np.nan)
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            if first in samples.scores and second in samples.scores:
                a, b = samples.scores[first], samples.scores[second]
                known = np.isfinite(a) & np.isfinite(b)
                matrix[i, j] = _spearman(a[known], b[known])
    return matrix


def best_of_n(path: Path | None) -> Section:
    """Gold and the selector's own score of the image each selector would choose among n, over n.

    The file holds `{"scores": {name: [[...], ...]}}`: for each score a P x N matrix over P prompts and N base-policy
    samples, null where unscored; "gold" among them for the gold curve.
    """
    if path is None:
        return {"notes": ["Best-of-n was not measured for this report."], "charts": []}
    scores = read_best_of_n(path)
    num_prompts, num_samples = next(iter(scores.values())).shape
    ns = [2**k for k in range(int(np.log2(num_samples)) + 1)]
    selectors = [name for name in scores if name not in GOLD_NAMES]
    notes = []
    made = []
    where = f"{num_prompts} prompts with {num_samples} images each"
    colours = dict(zip(selectors, [charts.REWARD_COLOURS[k % len(charts.REWARD_COLOURS)] for k in range(len(selectors))], strict=True))
    marks = dict(zip(selectors, [charts.RUN_MARKERS[k % len(charts.RUN_MARKERS)] for k in range(len(selectors))], strict=True))
    if "gold" in scores:
        lines = [Line(f"chosen by {name}", chosen_curve(scores[name], scores["gold"], ns), colours[name], marker=marks[name]) for name in selectors]
        oracle = Line("chosen by gold itself", chosen_curve(scores["gold"], scores["gold"], ns), charts.GOLD, dash="dot", marker="diamond", is_open=True)
        caption = f"A selector one can trust climbs with n towards the dotted line; one that turns down is being over-optimised. {where}."
        made.append(Chart("best-of-n-gold", charts.best_of_n([*lines, oracle], y_title="gold of the chosen image"), "What gold says of the choice", caption, 360, tuple(line.key for line in [*lines, oracle])))
    else:
        notes.append("Gold was not recorded for best-of-n, so only the selectors' own scores are shown.")
    own = []
    for name in selectors:
        values = scores[name]
        scaled = (values - np.nanmean(values)) / np.nanstd(values, ddof=1)
        own.append(Line(name, chosen_curve(values, scaled, ns), colours[name], marker=marks[name]))
    caption = "Every selector is pleased with its own choice: this always rises, whatever the images look like."
    made.append(Chart("best-of-n-proxy", charts.best_of_n(own, y_title="selector's own score, sd"), "What the selector says of it", caption, 360, tuple(line.key for line in own)))
    return {"notes": notes, "charts": made}


def read_best_of_n(path: Path) -> dict[str, FloatArray]:
    """Score matrices (P, N) by name.

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
    shapes = {matrix.shape for matrix in scores.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise RunFolderError(f"{path}: every score needs the same (prompts, samples) matrix, got shapes {sorted(shapes)}. Measure it again.")
    return scores


def _compared_names(item: Audited) -> list[str]:
    scores = list(item.run.samples.scores)
    trained = [name for name in item.run.trained_names if name in scores]
    others = [name for name in scores if name not in trained and name not in GOLD_NAMES]
    return [*(["gold"] if "gold" in scores else []), *trained, *others]


# --- interim
def _spearman(a, b):
    from scipy.stats import rankdata
    if len(a) < 3: return float("nan")
    a, b = rankdata(a), rankdata(b)
    if a.std() == 0 or b.std() == 0: return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def chosen_curve(selector, value, ns):
    from scipy.special import gammaln
    from pyrite.audit.curves import prompt_resamples
    P, N = selector.shape
    per = np.empty((P, len(ns)))
    for p in range(P):
        order = np.argsort(selector[p]); i = np.arange(1, N + 1)
        for k, n in enumerate(ns):
            logc = lambda a, b: np.where(a >= b, gammaln(a + 1) - gammaln(b + 1) - gammaln(np.maximum(a - b, 0) + 1), -np.inf)
            w = np.exp(logc(i - 1, n - 1) - logc(np.array(N), np.array(n)))
            per[p, k] = (w * value[p][order]).sum()
    W = prompt_resamples(np.array([f"{p}" for p in range(P)])) / P
    return Curve(np.array(ns), per.mean(0), W @ per)
