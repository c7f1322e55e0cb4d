"""VQAScore and DeQA-Score with random weights, tiny or at full size, and a stand-in for T5's vocabulary."""

import dataclasses

import torch

from pyrite.core.cards import RewardCard
from pyrite.core.protocols import Reward
from pyrite.rewards import clip_t5, mplug_owl2
from pyrite.rewards.deqa import Conversation, Deqa
from pyrite.rewards.loading import merged
from pyrite.rewards.pieces import Pieces
from pyrite.rewards.random_parts import drawn, hashed_ids
from pyrite.rewards.vqascore import QuestionReader, VqaScore

_NUM_PIECES = 32000

_TINY_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
}
_TINY_T5 = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 2}
_TINY_OWL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "visual_config": {
        "visual_model": _TINY_TOWER,
        "visual_abstractor": {**_TINY_TOWER, "num_learnable_queries": 4},
    },
}
# What Llama's vocabulary makes of the constant text: as many ids, and the same, as with real weights.
_CONVERSATION = Conversation(
    before=(1, 3148, 1001, 29901, 1128, 723, 366, 6554, 278, 11029, 310, 445, 1967, 29973, 13),
    after=(29871, 13, 22933, 9047, 13566, 29901, 450, 11029, 310, 278, 1967, 338),
    levels=(15129, 1781, 6534, 6460, 4319),
)


@dataclasses.dataclass(frozen=True)
class StandInProcessor:
    """One id for each word, from its hash, as a `sentencepiece.SentencePieceProcessor` would give them.

    Args:
        num_pieces: how many ids there are; the first three are never given.
    """

    num_pieces: int

    def get_piece_size(self) -> int:
        """How many ids there are."""
        return self.num_pieces

    def encode(self, text: str) -> list[int]:
        """An id for each word and mark."""
        return [3 + place for place in hashed_ids(text, self.num_pieces - 3)]


def build(card: RewardCard, *, tiny: bool, device: torch.device, dtype: torch.dtype, batch_size: int) -> Reward:
    """The reward of the card's name.

    Args:
        card: to put on it.
        tiny: with a few thousand parameters in place of all.
        device: where it computes.
        dtype: of the model.
        batch_size: images per forward pass.
    """
    if card.name == "deqa":
        return Deqa(card, _random_owl(tiny, device, dtype), _CONVERSATION, batch_size)
    reader = QuestionReader(Pieces(StandInProcessor(_NUM_PIECES)))
    model = _random_clip_t5(card.name, reader.num_ids, tiny, device, dtype)
    return VqaScore(dataclasses.replace(card, reads_prompt=True), model, reader, batch_size)


def _random_clip_t5(name: str, num_ids: int, tiny: bool, device: torch.device, dtype: torch.dtype) -> clip_t5.ClipT5:
    from transformers import CLIPVisionModel

    vision = clip_t5.tower_config(_TINY_TOWER if tiny else {})
    t5 = clip_t5.language_config(name, _TINY_T5 if tiny else {}, num_ids)
    return clip_t5.ClipT5(
        drawn(lambda: CLIPVisionModel(vision), device, dtype),
        drawn(lambda: clip_t5.projector_layers(vision.hidden_size, t5.d_model), device, dtype),
        drawn(lambda: clip_t5.language_class()(t5), device, dtype),
    )


def _random_owl(tiny: bool, device: torch.device, dtype: torch.dtype) -> mplug_owl2.Owl:
    from transformers import CLIPVisionModel

    llama, vision, shape = mplug_owl2.owl_configs(merged(mplug_owl2.PUBLISHED, _TINY_OWL if tiny else {}))
    return mplug_owl2.Owl(
        drawn(lambda: CLIPVisionModel(vision), device, dtype),
        drawn(lambda: mplug_owl2.new_abstractor(shape, vision, llama), device, dtype),
        drawn(lambda: mplug_owl2.language_class()(llama), device, dtype),
    )
