import numpy as np
import pytest
import torch

from pyrite.policies.janus_choosing import Sampling, invert_distribution, restrict


def test_each_choice_takes_its_share_of_the_uniforms() -> None:
    prob = torch.tensor([0.1, 0.0, 0.25, 0.65])
    uniform = (torch.arange(1000)[:, None] + 0.5) / 1000
    chosen, found = invert_distribution(prob.expand(1000, 4), uniform)
    assert torch.bincount(chosen[:, 0], minlength=4).tolist() == [100, 0, 250, 650]
    assert torch.equal(found, prob[chosen])


def test_impossible_choices_are_never_taken_at_the_ends() -> None:
    largest = float(np.nextafter(np.float32(1), np.float32(0)))
    prob = torch.tensor([[0.0, 0.3, 0.7, 0.0]] * 2) * torch.tensor([[1.0], [0.999999]])
    chosen, _ = invert_distribution(prob, torch.tensor([[0.0], [largest]]))
    assert chosen[:, 0].tolist() == [1, 2]


def test_the_largest_uniform_stays_inside_whatever_rounding_does() -> None:
    prob = torch.rand(2000, 37, generator=torch.Generator().manual_seed(0)).softmax(-1)
    prob[:, -1] = 0
    largest = float(np.nextafter(np.float32(1), np.float32(0)))
    chosen, found = invert_distribution(prob, torch.full((2000, 1), largest))
    assert chosen.max() < 36
    assert (found > 0).all()


def test_nan_probabilities_come_back_as_nan() -> None:
    _, found = invert_distribution(torch.full((1, 5), torch.nan), torch.tensor([[0.5]]))
    assert found.isnan().all()


def _reference_restrict(row: list[float], top_k: int | None, top_p: float | None) -> list[float]:
    """Word by word: keep the k largest and their equals, then the largest until they hold p of what is left."""
    kept = [(value, index) for index, value in enumerate(row)]
    if top_k is not None:
        least = sorted(row)[-min(top_k, len(row))]
        kept = [(value, index) for value, index in kept if value >= least]
    total = sum(value for value, _ in kept)
    if top_p is not None:
        held, nucleus = 0.0, []
        for value, index in sorted(kept, key=lambda pair: (-pair[0], pair[1])):
            if held >= top_p:
                break
            nucleus.append((value, index))
            held += value / total
        kept, total = nucleus, sum(value for value, _ in nucleus)
    chances = {index: value / total for value, index in kept}
    return [chances.get(index, 0.0) for index in range(len(row))]


@pytest.mark.parametrize(
    ("top_k", "top_p"),
    [(1, None), (5, None), (37, None), (99, None), (None, 0.05), (None, 0.6), (None, 1.0), (12, 0.7), (None, None)],
)
def test_cuts_keep_what_they_say(top_k: int | None, top_p: float | None) -> None:
    prob = (3 * torch.randn(200, 37, generator=torch.Generator().manual_seed(1)).double()).softmax(-1)
    expected = torch.tensor([_reference_restrict(row, top_k, top_p) for row in prob.tolist()], dtype=torch.double)
    torch.testing.assert_close(restrict(prob, top_k=top_k, top_p=top_p), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("top_k", "top_p"), [(5, None), (None, 0.6), (12, 0.7)])
def test_cuts_are_those_of_the_library(top_k: int | None, top_p: float | None) -> None:
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = 3 * torch.randn(200, 37, generator=torch.Generator().manual_seed(2))
    cut = TopKLogitsWarper(top_k)(None, logits) if top_k else logits
    cut = TopPLogitsWarper(top_p)(None, cut) if top_p else cut
    # float32 sums in two orders
    torch.testing.assert_close(restrict(logits.softmax(-1), top_k=top_k, top_p=top_p), cut.softmax(-1))


def test_equal_choices_at_the_end_of_the_cut_stay_together_for_k_and_not_for_p() -> None:
    prob = torch.tensor([[0.4, 0.2, 0.2, 0.2]])
    assert (restrict(prob, top_k=2, top_p=None) > 0).sum() == 4
    assert (restrict(prob, top_k=None, top_p=0.55) > 0).sum() == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "must be positive"),
        ({"plan_temperature": -1.0}, "must be positive"),
        ({"top_k": 0}, "top_k = 0 leaves nothing to draw"),
        ({"top_p": 0.0}, "top_p = 0.0 is a share"),
        ({"top_p": 1.2}, "top_p = 1.2 is a share"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_impossible_ways_to_draw_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)
