"""The simulated judge is honest: it recognises images, better questions score better, and a seed decides everything."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from examples.simulated.blocks import write_set
from examples.simulated.judgement import first_tokens, prob_yes
from examples.simulated.knowledge import ARTIFACTS, NEUTRAL, concept_of, excused_in, named_in
from examples.simulated.server import MODEL, SimulatedJudge, served
from examples.simulated.sight import Sight, Truth
from examples.simulated.writing import write
from PIL import Image as PILImage

from pyrite.artifact import ladder
from pyrite.artifact.data import load_curated
from pyrite.artifact.judges import DEFAULT_QUESTION, served_judge
from pyrite.artifact.optimise.objectives import auc
from pyrite.artifact.optimise.texts import critique_request, paraphrase_request, question_in, rewrite_request
from pyrite.rewards.yes_no import from_list

ASKS = "Answer YES or NO."


def truth(concept: str, *, label: bool = True, severity: float = 0.6) -> Truth:
    return Truth("image", label, concept, severity, 100)


def test_every_kind_of_the_ladder_is_a_concept_that_a_question_can_name() -> None:
    assert {concept_of(kind, ARTIFACTS) for kind in ladder.ARTIFACTS} == set(ARTIFACTS)
    assert {concept_of(kind, NEUTRAL) for kind in ladder.NEUTRAL} == set(NEUTRAL)
    assert named_in(DEFAULT_QUESTION) == {"light", "patch", "seam"}
    assert excused_in(DEFAULT_QUESTION) == {"style"}
    assert not named_in(f"Ignore noise. {ASKS}")


def test_what_is_named_is_seen_and_what_is_excused_is_not_held_against_the_image() -> None:
    named, silent = (f"Look for {what}. {ASKS}" for what in ("smears", "anything odd"))
    assert prob_yes(named, truth("smear")) > prob_yes(silent, truth("smear")) + 0.2
    assert prob_yes(named, truth("smear", severity=1)) > prob_yes(named, truth("smear", severity=0))
    harmless = truth("style", label=False)
    assert prob_yes(silent, harmless) > prob_yes(f"Disregard artistic styles. {silent}", harmless)
    assert prob_yes(named + " and then" * 200, truth("smear")) < prob_yes(named, truth("smear"))
    turned = f"Say YES if the image is free of smears, else NO. {ASKS}"
    assert prob_yes(turned, truth("smear")) < 0.5


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.9])
def test_the_listed_tokens_say_what_the_model_means(probability: float) -> None:
    assert from_list([*first_tokens(ASKS, probability).items()]).prob_yes == pytest.approx(probability, abs=0.01)
    assert from_list([*first_tokens("What do you see?", probability).items()]).answered < 0.05


def test_an_image_is_recognised_through_jpeg_and_resizing_and_a_stranger_is_not(tmp_path: Path) -> None:
    path = write_set(tmp_path, 10)
    sight = Sight.of(path)
    for example in load_curated(path).examples[:6]:
        image = PILImage.open(example.image)
        for shown in (image, image.resize((48, 48)), reopened(image, quality=75)):
            found = sight.recognise_image(shown)
            assert found is not None
            assert found.has_artifact == example.has_artifact
            assert found.key == sight.recognise(example.image.read_bytes()).key  # type: ignore[union-attr]
    assert sight.recognise_image(PILImage.new("RGB", (24, 24), "white")) is None


def reopened(image: PILImage.Image, quality: int) -> PILImage.Image:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return PILImage.open(file)


def test_a_better_question_scores_better_over_a_real_socket(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", 30, seed=2)
    examples = load_curated(path).examples
    images = [PILImage.open(example.image) for example in examples]
    everything = ", ".join(words for _, words in ARTIFACTS.values())
    with served(SimulatedJudge(path)) as simulated:
        judge = served_judge(base_url=simulated.url, model=MODEL, audit="")
        found = [
            judge.judge(question, images).prob_artifact
            for question in (f"Is anything odd? {ASKS}", f"Look for {everything}. {ASKS}")
        ]
        again = judge.judge(f"Is anything odd? {ASKS}", images[:3]).prob_artifact
    assert auc(examples, found[1]) > auc(examples, found[0]) + 0.1
    assert again.tolist() == found[0][:3].tolist()
    assert simulated.answered.total() == 123
    assert not np.isnan(found).any()


def test_a_share_of_the_requests_fails_and_an_unknown_image_is_refused(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", 40)
    images = [PILImage.open(example.image) for example in load_curated(path).examples]
    with served(SimulatedJudge(path, fail_share=0.2)) as simulated:
        judge = served_judge(base_url=simulated.url, model=MODEL, audit="")
        found = judge.judge(ASKS, images)
        unknown = judge.judge(ASKS, [PILImage.new("RGB", (9, 9), "white")])
    assert 8 <= len(found.reasons) <= 24
    assert list(unknown.reasons) == [0]


def test_its_texts_are_plausible_sometimes_useful_and_sometimes_junk() -> None:
    shown = [truth("smear"), truth("ghost")]
    rng = random.Random(0)
    question = f"Look for seams. Disregard artistic styles. {ASKS}"
    texts = {
        name: ["".join(str(part) for part in request.parts) for _ in range(200)]
        for name, request in {
            "critique": critique_request(question, [], 99),
            "rewrite": rewrite_request(question, [], "The question never mentions smeared areas.", 99),
            "paraphrase": paraphrase_request(question, 99),
        }.items()
    }
    critiques = [write(text, shown, rng) for text in texts["critique"]]
    useful = sum(bool(named_in(one) & {"smear", "ghost"}) for one in critiques)
    assert 80 < useful < 140
    rewritten = [question_in(write(text, shown, rng), 1500)[0] for text in texts["rewrite"]]
    assert 0 < rewritten.count("") < 30
    assert sum("smear" in named_in(one) for one in rewritten) > 120
    reworded = {question_in(write(text, (), rng), 1500)[0] for text in texts["paraphrase"]}
    assert len(reworded) > 3
    assert all(excused_in(one) == {"style"} for one in reworded if one)
