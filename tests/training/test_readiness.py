from pathlib import Path

import pytest
from tests.fakes import FakePolicy
from tests.training.scenario import run_toy

from pyrite.core.errors import TrainingError
from pyrite.core.types import Prompt


class Shy(FakePolicy):
    def why_not(self, prompt: Prompt) -> str | None:
        return f"the prompt '{prompt.text}' is longer than the context" if prompt.id in ("p3", "e1") else None


def test_prompts_that_the_policy_cannot_draw_are_named_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot draw 2 of the 15 prompts") as caught:
        run_toy(tmp_path / "run", policy=Shy.create())
    assert "\n  - prompt 'p3': the prompt 'a toy number 3' is longer than the context" in str(caught.value)
    assert "\n  - prompt 'e1': " in str(caught.value)
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()
