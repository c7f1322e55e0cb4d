"""Progress of training runs on stderr: how far, and what reward, gold and KL say so far."""

from collections.abc import Mapping
from typing import Any, Self

_SHOWN = {"reward": "reward", "gold/mean": "gold", "kl": "kl"}


class RunBars:
    """One bar per run, for use in a `with` statement.

    Args:
        names: of the runs, in the order of their bars.
    """

    def __init__(self, *names: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        name, numbers = TextColumn("{task.description}"), TextColumn("{task.fields[numbers]}")
        columns = (name, BarColumn(), MofNCompleteColumn(), numbers, TimeElapsedColumn())
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._tasks = {name: self._bars.add_task(name, total=None, numbers="") for name in names}
        self._seen: dict[str, dict[str, float]] = {name: {} for name in names}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, name: str, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """Show a line of metrics.jsonl; numbers that it does not have keep their last value."""
        self._seen[name] |= {label: metrics[key] for key, label in _SHOWN.items() if metrics.get(key) is not None}
        text = "  ".join(f"{label} {value:.3f}" for label, value in self._seen[name].items())
        self._bars.update(self._tasks[name], completed=step, total=steps, numbers=text)
