"""A policy and rewards small enough to enumerate, so that every expectation in a test is exact.

`FakePolicy` draws sequences of T <= 4 tokens out of V <= 4 from a table of logits, one row per prefix. Its image is the
sequence itself, one pixel per token, so a `TableReward` can read it back and look the score up. Both keep the contracts
of `pyrite.core.protocols` to the letter: what holds for them in training holds for a Janus.
"""

import copy
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyrite.core.cards import PolicyCard, RewardCard
from pyrite.core.types import FloatArray, Image, Prompt, Rollouts, Scores

_LEVEL = 60  # grey levels between two tokens: 4 tokens fit into a byte


class PrefixTable(nn.Module):
    """Logits of the next token for each of the prefixes shorter than T, as one (S, V) table.

    Args:
        num_tokens: T.
        num_choices: V.
        seed: of the initial logits, which are normal with deviation `spread`.
        spread: 0 makes every sequence equally likely.
    """

    def __init__(self, num_tokens: int, num_choices: int, *, seed: int = 0, spread: float = 1.0) -> None:
        super().__init__()
        num_prefixes = sum(num_choices**length for length in range(num_tokens))
        table = np.random.default_rng(seed).normal(size=(num_prefixes, num_choices)) * spread
        self.num_tokens = num_tokens
        self.num_choices = num_choices
        self.logits = nn.Parameter(torch.tensor(table, dtype=torch.float32))

    def forward(self, tokens_RT: Tensor) -> Tensor:
        """(R, T) log-probability of each token given those before it."""
        logp_SV = self.logits.log_softmax(-1)
        return logp_SV[self.prefixes(tokens_RT), tokens_RT]

    def prefixes(self, tokens_RT: Tensor) -> Tensor:
        """(R, T) row of the table that decides about each token."""
        rows = [torch.zeros(len(tokens_RT), dtype=torch.int64)]
        for tokens_R in tokens_RT.T[:-1]:
            rows.append(rows[-1] * self.num_choices + 1 + tokens_R)
        return torch.stack(rows, 1)


@dataclass
class FakePolicy:
    """A tabular autoregressive policy that satisfies `TrainablePolicy`; the same for every prompt.

    Args:
        module: the table, or that in a distributed wrapper.
        card: what it claims.
        decode_seconds: what the last drawing spent on pictures.
    """

    module: nn.Module
    card: PolicyCard
    decode_seconds: float = 0.0

    @classmethod
    def create(cls, num_tokens: int = 3, num_choices: int = 3, *, seed: int = 0, spread: float = 1.0) -> Self:
        """A policy with random logits."""
        table = PrefixTable(num_tokens, num_choices, seed=seed, spread=spread)
        return cls(table, PolicyCard("fake", "Draws a few tokens from a table.", num_tokens, (num_tokens, 1)))

    @classmethod
    def load(cls, folder: str, num_tokens: int = 3, num_choices: int = 3) -> Self:
        """What `save` wrote."""
        policy = cls.create(num_tokens, num_choices)
        policy.module.load_state_dict(load_file(Path(folder) / "table.safetensors"))
        return policy

    @property
    def table(self) -> PrefixTable:
        """The table itself, without a distributed wrapper."""
        inner = getattr(self.module, "module", self.module)
        assert isinstance(inner, PrefixTable)
        return inner

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], *, group_size: int, rngs: Sequence[np.random.Generator]) -> Rollouts:
        """Draw `group_size` sequences per prompt by inverting the distribution function."""
        num_tokens, num_choices = self.table.num_tokens, self.table.num_choices
        uniforms_RT = np.concatenate([rng.random((group_size, num_tokens)) for rng in rngs])
        prob_SV = self.table.logits.double().softmax(-1).numpy()
        tokens_RT = np.zeros(uniforms_RT.shape, dtype=np.int64)
        rows_R = np.zeros(len(tokens_RT), dtype=np.int64)
        for t, uniform_R in enumerate(uniforms_RT.T):
            passed_RV = prob_SV[rows_R].cumsum(1) <= uniform_R[:, None]
            tokens_RT[:, t] = passed_RV.sum(1).clip(max=num_choices - 1)
            rows_R = rows_R * num_choices + 1 + tokens_RT[:, t]
        return self.rollouts(tokens_RT, [prompt for prompt in prompts for _ in range(group_size)], group_size)

    @torch.no_grad()
    def rollouts(self, tokens_RT: np.ndarray, prompts: Sequence[Prompt], group_size: int) -> Rollouts:
        """Rollouts with these tokens, as if they had been drawn."""
        start = time.perf_counter()
        images = [image_of(tokens) for tokens in tokens_RT]
        self.decode_seconds = time.perf_counter() - start
        return Rollouts(
            prompts=prompts,
            group_size=group_size,
            images=images,
            tokens=tokens_RT,
            behaviour_logp=self.table(torch.from_numpy(tokens_RT)).numpy(),
            mask=np.ones(tokens_RT.shape, dtype=np.bool_),
        )

    def logp(self, rollouts: Rollouts) -> Tensor:
        """(R, T), differentiable."""
        logp: Tensor = self.module(torch.from_numpy(rollouts.tokens))
        return logp

    def frozen_copy(self) -> Self:
        """The reference policy."""
        return type(self)(copy.deepcopy(self.table).requires_grad_(False), self.card)

    def save(self, folder: str) -> None:
        """Write the folder that `load` reads."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(self.table.state_dict(), Path(folder) / "table.safetensors")


def every_sequence(num_tokens: int, num_choices: int) -> np.ndarray:
    """(V^T, T) all sequences, the last token running fastest: row i is the sequence whose table entry is i."""
    return np.array(list(itertools.product(range(num_choices), repeat=num_tokens)), dtype=np.int64)


def image_of(tokens_T: np.ndarray) -> Image:
    """A picture one pixel high whose grey levels are the tokens."""
    grey = (tokens_T * _LEVEL).astype(np.uint8)[None, :, None].repeat(3, 2)
    return PILImage.fromarray(grey)


def tokens_of(image: Image) -> np.ndarray:
    """The tokens `image_of` drew."""
    return np.asarray(image)[0, :, 0].astype(np.int64) // _LEVEL


@dataclass
class TableReward:
    """Scores a sequence by looking it up; satisfies `Reward`.

    Args:
        name: for the card.
        table: (V^T,) score of each sequence, in the order of `every_sequence`; NaN is unscored, with a reason.
        num_choices: V.
        details: further tables of the same shape.
        calls: how many images each call of `score` was given, in order.
    """

    name: str
    table: FloatArray
    num_choices: int = 3
    details: Mapping[str, FloatArray] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.card = RewardCard(self.name, "Looks the sequence up in a table.", (-np.inf, np.inf), reads_prompt=False)

    @classmethod
    def random(cls, name: str, seed: int, num_tokens: int = 3, num_choices: int = 3) -> Self:
        """Normal scores."""
        return cls(name, np.random.default_rng(seed).normal(size=num_choices**num_tokens), num_choices)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """The table's entries."""
        self.calls.append(len(images))
        tokens_NT = np.array([tokens_of(image) for image in images])
        rows_N = tokens_NT @ self.num_choices ** np.arange(tokens_NT.shape[1])[::-1]
        values = self.table[rows_N]
        return Scores(
            values,
            {int(row): f"{self.name} has no entry for this sequence" for row in np.flatnonzero(np.isnan(values))},
            {name: table[rows_N] for name, table in self.details.items()},
        )


@dataclass
class BrokenReward:
    """Raises when asked for the `after`-th time and from then on, as no reward should."""

    name: str
    after: int = 0
    calls: int = 0

    def __post_init__(self) -> None:
        self.card = RewardCard(self.name, "Breaks.", (0.0, 1.0), reads_prompt=False)

    def score(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> Scores:
        """Zeros, until it breaks."""
        self.calls += 1
        if self.calls > self.after:
            raise RuntimeError("out of cheese")
        return Scores(np.zeros(len(images)))


def toy_prompts(num: int, prefix: str = "p") -> list[Prompt]:
    """Prompts with ids p0, p1, ... and alternating task types."""
    return [Prompt(f"a toy number {i}", id=f"{prefix}{i}", task_type=("object", "colour")[i % 2]) for i in range(num)]
