"""Peak memory of one update: log-probabilities of a batch and their gradient, in the naive form and in ours.

Run it: `python benchmarks/logp_memory.py` (seconds, any machine). The operations are those of Janus-Pro-1B at its own
size, on tensors without contents (torch's FakeTensorMode): every allocation that an operation returns is counted, when
it comes and when it goes. What a kernel needs for itself while it runs is not seen, and no GPU took part.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROWS, PROMPT, CODES, CHOICES = 8, 64, 576, 16384
SIZES = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24, "num_attention_heads": 16}


class Allocations(TorchDispatchMode):
    """Bytes of the tensors that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def known(self, *tensors: Tensor) -> None:
        """Tensors that were there before."""
        for tensor in tensors:
            self._seen.add(tensor.untyped_storage()._cdata)

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def new_model(chunk: int | None, twice: bool) -> Any:
    """Janus-Pro-1B's language model and head in bfloat16, and the smallest other parts there can be."""
    from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, LlamaConfig
    from transformers.models.janus import JanusVQVAEConfig

    from pyrite.policies.janus_loading import _compute_twice
    from pyrite.policies.janus_pro_model import JanusProModel

    width = SIZES["hidden_size"]
    torch.set_default_dtype(torch.bfloat16)
    janus = JanusForConditionalGeneration(
        JanusConfig(
            text_config=LlamaConfig(
                vocab_size=102400, max_position_embeddings=16384, tie_word_embeddings=False, **SIZES
            ),
            vision_config=JanusVisionConfig(
                hidden_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=384, projection_dim=width
            ),
            vq_config=JanusVQVAEConfig(
                num_embeddings=CHOICES, projection_dim=width, image_token_embed_dim=width, base_channels=32,
                latent_channels=32, channel_multiplier=[1],
            ),
            tie_word_embeddings=False,
        )
    )  # fmt: skip
    torch.set_default_dtype(torch.float32)
    for layer in (janus.model.generation_head.proj_out, janus.model.generation_head.vision_head):
        layer.weight, layer.bias = torch.nn.Parameter(layer.weight.float()), torch.nn.Parameter(layer.bias.float())
    janus.requires_grad_(False)
    janus.model.language_model.requires_grad_(True)
    if twice:
        _compute_twice(janus)
    return JanusProModel(
        janus, plans=False, temperature=1.0, plan_temperature=1.0, compute=torch.bfloat16, logp_chunk=chunk
    )


def naive(model: Any, prompt: Tensor, codes: Tensor) -> Tensor:
    """As published trainers have it: hidden states of every layer, logits of every position, log-softmax of all."""
    janus = model.janus
    words = janus.model.language_model.embed_tokens(prompt)
    image = janus.prepare_embeddings_for_image_generation(codes)
    out = janus.model.language_model(inputs_embeds=torch.cat([words, image], 1), output_hidden_states=True)
    logits = janus.model.generation_head(out.hidden_states[-1].float())
    return logits[:, PROMPT - 1 : -1].log_softmax(-1).gather(2, codes[..., None])[..., 0]


def ours(model: Any, prompt: Tensor, codes: Tensor) -> Tensor:
    """What `JanusPolicy.logp` calls."""
    logp: Tensor = model(prompt, torch.zeros(len(prompt), dtype=torch.long), codes)
    return logp


FORMS: dict[str, tuple[Callable[..., Tensor], int | None, bool]] = {
    "naive": (naive, None, False),
    "image tokens only": (ours, None, False),
    "and their logits 1024 at a time": (ours, 1024, False),
    "naive, layers computed twice": (naive, None, True),
    "1024 at a time, layers computed twice": (ours, 1024, True),
}


def peak_gb(name: str) -> float:
    """Of forward and backward, above model, batch and gradients."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    form, chunk, twice = FORMS[name]
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = new_model(chunk, twice)
        prompt, codes = (torch.zeros(ROWS, num, dtype=torch.long) for num in (PROMPT, CODES))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)  # they are there in every update
        counted = Allocations()
        counted.known(*model.parameters(), *model.buffers(), prompt, codes)
        counted.known(*(parameter.grad for parameter in model.parameters() if parameter.grad is not None))
        with counted:
            form(model, prompt, codes).sum().backward()
    return counted.peak / 1e9


def main() -> None:
    """Every form, as a table."""
    print(f"{ROWS} images of {CODES} tokens after prompts of {PROMPT}; Janus-Pro-1B, bfloat16, head in float32\n")
    print("| form | peak above model and gradients, GB | of naive |\n|---|---|---|")
    peaks: dict[str, float] = {}
    for name in FORMS:
        peaks[name] = peak_gb(name)
        print(f"| {name} | {peaks[name]:.1f} | {peaks[name] / peaks['naive']:.0%} |", flush=True)


if __name__ == "__main__":
    main()
