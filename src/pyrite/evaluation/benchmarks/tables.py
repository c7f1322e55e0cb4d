"""The table of a benchmark as papers print it: categories across, one line per set of images."""

from collections.abc import Mapping, Sequence
from typing import Any

_ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
MISSING = "–"


def lines_of(results: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and results of this evaluation, then of those it is compared with."""
    return [(short(results["images"]), results), *((short(one["images"]), one) for one in results["against"])]


def short(images: str) -> str:
    """The last part of a path, or the whole of anything else."""
    return images.rstrip("/").rpartition("/")[2] or images


def judge_name(examiner: Mapping[str, Any]) -> str:
    """Who looked, in a few words."""
    return str(
        next((examiner[key] for key in ("model", "weights", "detector", "name") if examiner.get(key)), "unknown")
    )


def judge_names(examiners: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same for several, told apart by their weights where the model alone would not do."""
    names = [judge_name(one) for one in examiners]
    weights = {
        name: {str(one.get("weights")) for one, of in zip(examiners, names, strict=True) if of == name}
        for name in names
    }
    return [
        str(one.get("weights")) if len(weights[name]) > 1 else name for one, name in zip(examiners, names, strict=True)
    ]


def markdown(results: Mapping[str, Any]) -> str:
    """A table for a README; a score that was not earned is a dash."""
    head = ["images", "judge", *(one["name"] for one in results["categories"]), "Overall"]
    rows = [[_plain(cell) for cell in row] for row in _rows(results)]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{_caption(results)}\n"


def latex(results: Mapping[str, Any]) -> str:
    """A table in the form of booktabs."""
    head = ["Images", "Judge", *(one["name"] for one in results["categories"]), "Overall"]
    rows = [[escaped(cell).replace(MISSING, "--") for cell in row] for row in _rows(results)]
    body = "".join(f"{' & '.join(row)} \\\\\n" for row in rows)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{table}}\n\\centering\n\\caption{{{escaped(_caption(results))}}}\n"
        f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}\n\\toprule\n"
        f"{' & '.join(map(escaped, head))} \\\\\n\\midrule\n"
        f"{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def escaped(text: str) -> str:
    """Text in which nothing means anything to LaTeX."""
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))


def _rows(results: Mapping[str, Any]) -> list[list[str]]:
    lines = lines_of(results)
    judges = judge_names([one["examiner"] for _, one in lines])
    return [
        [name, judge, *(_number(cell["score"]) for cell in [*one["categories"], one["overall"]])]
        for (name, one), judge in zip(lines, judges, strict=True)
    ]


def _caption(results: Mapping[str, Any]) -> str:
    judges = list(dict.fromkeys(judge_names([one["examiner"] for _, one in lines_of(results)])))
    several = "; numbers of different judges do not compare" if len(judges) > 1 else ""
    return f"{results['benchmark']} ({', '.join(results['cites'])}), judged by {', '.join(judges)}{several}."


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
