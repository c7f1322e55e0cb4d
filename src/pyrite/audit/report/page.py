"""The report as one HTML file: data in, page out."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from pyrite.audit.analysis import compare
from pyrite.audit.loading import load_run
from pyrite.audit.report import agreement, exhibits, tables, trends
from pyrite.audit.verdict import DEFINITION

CONTENTS = (
    ("curves", "Proxy and gold"),
    ("images", "Images"),
    ("panel", "Held-out panel"),
    ("matched", "Equal KL, equal proxy"),
    ("correlation", "Correlations"),
    ("best-of-n", "Best of n"),
    ("tasks", "Task types"),
    ("offenders", "Worst offenders"),
    ("record", "Time, settings, provenance"),
    ("glossary", "Words"),
)


@dataclass(frozen=True)
class RunInput:
    """A run folder for the report.

    Args:
        folder: with at least samples.jsonl.
        name: what the page calls it; empty for the recipe's name or the folder's.
        proxy: the scores it was trained on, for folders without a recipe; read only for the first run.
    """

    folder: Path
    name: str = ""
    proxy: tuple[str, ...] = ()


def write_report(
    runs: Sequence[RunInput], *, best_of_n: Path | None, out: Path, title: str, quick: bool = False
) -> Path:
    """Write one HTML file that opens anywhere, offline, and return its path.

    Args:
        runs: the plain run first, then what it is compared with; at most four are told apart by colour.
        best_of_n: a best-of-n file (see `agreement.best_of_n`), or None.
        out: the HTML file; its folder is made if it is not there.
        title: of the page.
        quick: the runs were shortened, which the page then says.

    Raises:
        ValueError: no runs, or two of the same name.
        RunFolderError: a folder or the best-of-n file cannot be read.
    """
    if not runs:
        raise ValueError("a report needs at least one run folder: give the plain run, then any to compare it with")
    loaded = [load_run(item.folder, item.name) for item in runs]
    names = [run.name for run in loaded]
    if len(set(names)) < len(names):
        raise ValueError(
            f"two runs have the same name ({', '.join(names)}), so the page could not tell them apart: "
            "give each RunInput a name of its own"
        )
    comparison = compare(loaded, runs[0].proxy)
    context: dict[str, Any] = {
        "title": title,
        "quick": quick,
        "num_steps": comparison.first.run.samples.step_values[-1],
        "verdicts": exhibits.verdicts(comparison),
        "definition": DEFINITION,
        "summary": tables.summary(comparison),
        "contents": CONTENTS,
        "proxy_sentence": exhibits.proxy_sentence(comparison),
        "curves": trends.curves(comparison),
        "images": exhibits.images(comparison),
        "panel": trends.panel(comparison),
        "matched": trends.matched(comparison),
        "correlation": agreement.correlation(comparison),
        "best_of_n": agreement.best_of_n(best_of_n),
        "tasks": exhibits.tasks(comparison),
        "offenders": exhibits.offenders(comparison),
        "record": exhibits.record(comparison),
        "quiet_cells": (tables.NOT_REACHED, tables.MISSING),
        "version": metadata.version("pyrite"),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(context), encoding="utf-8")
    return out


def render(context: dict[str, Any], template: str = "template.html.j2") -> str:
    """The page: everything in `context` is escaped, and only our own two scripts may run.

    Args:
        context: what the template shows, and `quiet_cells`, the texts of table cells that are no numbers.
        template: a file of this package.
    """
    import jinja2
    import plotly.offline

    plotly_js, draw_js = plotly.offline.get_plotlyjs(), _resource("draw.js")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure_json"] = figure_json
    environment.filters["number"] = tables.number
    return environment.get_template(template).render(
        context,
        style=_resource("style.css"),
        plotly=plotly_js,
        draw=draw_js,
        policy=content_policy([plotly_js, draw_js]),
    )


def content_policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: no network at all, and no script but the given ones, by hash.

    So a prompt that slipped through the escaping could still neither run nor send anything.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:"


def figure_json(figure: dict[str, Any]) -> Any:
    """JSON that cannot end the script element it stands in: `<`, `>` and `&` are written as escapes."""
    import markupsafe

    text = json.dumps(figure, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


def _resource(name: str) -> str:
    return resources.files("pyrite.audit.report").joinpath(name).read_text(encoding="utf-8")
