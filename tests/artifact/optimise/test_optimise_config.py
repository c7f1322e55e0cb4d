"""What a search may be told; every problem is named before anything is asked."""

from pathlib import Path

import pytest

from pyrite.artifact.optimise.config import load_optimise_config
from pyrite.core.errors import RecipeError
from pyrite.records.recipe_file import to_yaml


def test_the_defaults_are_those_of_the_reference() -> None:
    protegi = load_optimise_config(None).protegi
    assert protegi.model_dump() == {
        "rounds": 6, "beam": 4, "minibatch": 60, "gradients": 4, "errors_per_gradient": 4, "steps_per_gradient": 1,
        "paraphrases": 1, "expansion_cap": 5,
    }  # fmt: skip


def test_a_config_survives_being_written_and_read(tmp_path: Path) -> None:
    config = load_optimise_config(None, ["protegi.rounds=2", "budget.calls=500"], objective="auc")
    file = tmp_path / "c.yaml"
    file.write_text(to_yaml(config.model_dump(mode="json")))
    assert load_optimise_config(file) == config
    assert config.objective == "auc"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protegi.round=2", "Did you mean 'rounds'"),
        ("protegi.rounds=0", "must be 1 or more"),
        ("protegi.beam=two", "must be a whole number"),
        ("objective=accuracy", "objective = 'accuracy'"),
        ("shares=[0.8, 0.2, 0]", "without a test part nothing is proven"),
        ("shares=[0.8, 0.2]", "not three parts of a whole"),
        ("allocation.last_share=0", "must be above 0"),
        ("budget.usd=0", "must be above 0"),
        ("judge=artifact", "must be a section of keys"),
        ("rounds", "is not of the form a.b=c"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key_and_the_rule(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match="the search cannot run like this") as caught:
        load_optimise_config(None, [override])
    assert message in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        load_optimise_config(None, ["protegi.beam=0", "gepa.minibatch=0", "nothing=1"])
    assert str(caught.value).count("\n  - ") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "where its keys should be"), ("a: [", "is not YAML"), (None, "cannot be read")],
    ids=["a list", "broken", "missing"],
)
def test_a_file_that_is_no_config_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_optimise_config(file)
