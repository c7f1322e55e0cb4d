"""The comparison of two sets as a table for a README and for a paper."""

from collections.abc import Mapping
from typing import Any

from pyrite.evaluation.benchmarks.tables import escaped

HEAD = ("", "A", "B", "A - B", "95 % interval", "win / tie / loss", "win rate", "95 % interval")


def markdown(results: Mapping[str, Any]) -> str:
    """A table of Markdown; a number that was not earned is a dash."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in _rows(results)]
    lines = [list(HEAD), ["---"] + ["---:"] * (len(HEAD) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{_caption(results)}\n"


def latex(results: Mapping[str, Any]) -> str:
    """A table in the form of booktabs."""
    body = "".join(f"{' & '.join(escaped(cell).replace('–', '--') for cell in row)} \\\\\n" for row in _rows(results))
    return (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{table}}\n\\centering\n\\caption{{{escaped(_caption(results))}}}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(HEAD) - 1)}}}\n\\toprule\n"
        f"{' & '.join(map(escaped, HEAD))} \\\\\n\\midrule\n"
        f"{body}\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _rows(results: Mapping[str, Any]) -> list[list[str]]:
    found = [(name, entry, True) for name, entry in results["rewards"].items()]
    if results["judge"] is not None:
        found.append(("judge", results["judge"], False))
    rows = []
    for name, entry, has_scale in found:
        for label, part in ((name, entry), *((f"{name}, {task}", of) for task, of in entry["by_task_type"].items())):
            # A preference has no scale of its own: the win rate says all of it.
            scale = (
                [_number(part["mean_a"]), _number(part["mean_b"]), *_interval(part["difference"], signed=True)]
                if has_scale
                else ["–"] * 4
            )
            counts = f"{part['wins']} / {part['ties']} / {part['losses']}"
            rows.append([" ".join(label.split()), *scale, counts, *_interval(part["win_rate"])])
    return rows


def _interval(found: Mapping[str, Any], *, signed: bool = False) -> list[str]:
    ends = "–" if found["low"] is None else f"{_number(found['low'], signed)} to {_number(found['high'], signed)}"
    return [_number(found["estimate"], signed), ends]


def _number(value: float | None, signed: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if signed else ''}.4g}"


def _caption(results: Mapping[str, Any]) -> str:
    return (
        f"A is {results['a']['images']}, B is {results['b']['images']}: {results['num_pairs']} pairs of "
        f"{results['num_prompts']} prompts, matched by {results['match']}. The win rate is wins and half the ties; "
        "intervals are over prompts: a bootstrap, and Wilson's where one side always wins."
    )
