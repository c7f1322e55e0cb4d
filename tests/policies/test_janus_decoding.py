import numpy as np
import torch

from pyrite.policies.janus_decoding import invert_distribution


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
