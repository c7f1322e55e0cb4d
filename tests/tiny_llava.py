"""Tiny LLaVA-OneVisions in LLaVA-NeXT's layout, as ORM and UnifiedReward are published, with a tokenizer."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

# How Qwen2's tokenizer cuts a text before merging bytes: contractions, words with what precedes them, single digits,
# punctuation, spaces.
_CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VISION_CONTROLS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
# Qwen2.5 adds tokens that it does not mark special.
UNMARKED = ("<tool_call>",)
_WHOLE_WORDS = ("yes", "no", "Yes", "No", "YES", "NO", " yes", " no", " red", " circle", " prompt", "user", "system")


def write_qwen_tokenizer(
    folder: Path, *, more: tuple[str, ...] = (), learnt: str = "", unreachable: tuple[str, ...] = ()
) -> Path:
    """A byte-level BPE in Qwen2's form that knows single bytes and a few words, as tokenizer.json.

    Args:
        folder: where it is written.
        more: further special tokens, such as "<|Reward|>", after Qwen2's own.
        learnt: a text whose words become single tokens, so that questions are short.
        unreachable: texts that are one token when a model writes them, and never when they are read.
    """
    from tokenizers import AddedToken

    cuts = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CUTS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: index for index, sign in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    words = [word.replace(" ", "Ġ") for word in _WHOLE_WORDS] + [word for word, _ in cuts.pre_tokenize_str(learnt)]
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    for text in unreachable:
        vocabulary[text.replace(" ", "Ġ").replace("\n", "Ċ")] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = cuts
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*CONTROLS, *VISION_CONTROLS, *more])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in UNMARKED])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


TOWER = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
"""Four patches to a crop."""

TEXT: dict[str, Any] = {
    "vocab_size": 0,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}
LLAVA: dict[str, Any] = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": "llava",
    "hidden_act": "silu",
    "image_aspect_ratio": "anyres_max_9",
    "image_grid_pinpoints": [[28, 28], [28, 56], [56, 28], [56, 56], [28, 84], [84, 28]],
    "mm_hidden_size": TOWER["hidden_size"],
    "mm_patch_merge_type": "spatial_unpad",
    "mm_projector_type": "mlp2x_gelu",
    "tie_word_embeddings": False,
    "tokenizer_model_max_length": 3000,
    "use_sliding_window": False,
}
CONFIG = {"vision": TOWER}
"""What a factory is told as `config`."""

_LAYOUT = (
    ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
    ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("model.language_model.", "model."),
)

AXES = ("Alignment", "Coherence", "Style")
_NUMBERS = tuple(f"{quarter / 4:.2f}\n" for quarter in range(4, 21))
# The mind of the judge below: seven numbers say what was written last, one marks pictures, one marks the words that
# matter, the others are what is seen and read.
_PICTURE, _WORD, _SEEN = 7, 8, 9
_WORDS_THAT_MATTER = " red circle blue stars green cross pink square yellow crosses"


def write_orm(folder: Path, *, seed: int = 0) -> Path:
    """A random LLaVA in one file, with a tokenizer."""
    write_qwen_tokenizer(folder)
    model = _tiny_model(_vocab_size(folder), seed)
    return _write_llava(folder, model)


def write_unifiedreward(folder: Path, *, seed: int = 0) -> Path:
    """A LLaVA that writes three scores, chosen by what it sees and by the words that matter, and stops."""
    from pyrite.rewards.unifiedreward import QUESTION

    labels = tuple(f"{axis} Score (1-5): " for axis in AXES)
    # A number belongs to its axis: the second one's begin with a space, the third one's with two.
    numbers = tuple(" " * axis + number for axis in range(3) for number in _NUMBERS)
    write_qwen_tokenizer(folder, learnt=QUESTION + _WORDS_THAT_MATTER, unreachable=(*labels, *numbers))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def written(text: str) -> int:
        return tokenizer.token_to_id(text.replace(" ", "Ġ").replace("\n", "Ċ"))

    model = _tiny_model(_vocab_size(folder), seed, num_hidden_layers=1)
    generator = torch.Generator().manual_seed(seed)
    words = [tokenizer.token_to_id(f"Ġ{word}") for word in _WORDS_THAT_MATTER.split()]
    with torch.no_grad():
        embeddings, head = model.get_input_embeddings().weight, model.lm_head.weight
        embeddings[:, :_SEEN] = 0
        head.zero_()
        state = {"\n": 0, **{label: 1 + axis for axis, label in enumerate(labels)}}
        for text, place in state.items():
            embeddings[written(text)] = 0
            embeddings[written(text), place] = 4
        for axis in range(3):
            for number in _NUMBERS:
                token = written(" " * axis + number)
                embeddings[token] = 0
                embeddings[token, 4 + axis] = 4
                head[token, 1 + axis] = 80
                head[token, _SEEN:] = torch.randn(32 - _SEEN, generator=generator)
        for place, following in ((0, written(labels[0])), (4, written(labels[1])), (5, written(labels[2]))):
            head[following, place] = 80
        head[tokenizer.token_to_id("<|im_end|>"), 6] = 80
        embeddings[words, _WORD] = 6
        embeddings[words, _SEEN:] = 3 * torch.randn(len(words), 32 - _SEEN, generator=generator)
        projector = model.model.multi_modal_projector.linear_2
        projector.weight[:_SEEN], projector.bias[:_SEEN], model.model.image_newline[:_SEEN] = 0, 0, 0
        projector.bias[_PICTURE] = 6
        _attend(model.model.language_model.layers[0], generator)
    return _write_llava(folder, model)


def _attend(layer: Any, generator: torch.Generator) -> None:
    """One head looks at pictures alone, the other at the words that matter; what they find goes to the free places."""
    attention = layer.self_attn
    layer.mlp.down_proj.weight.zero_()
    for norm in (layer.input_layernorm, layer.post_attention_layernorm):
        norm.weight.fill_(1)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight.zero_()
        projection.bias.zero_()
    for place, marker in ((7, _PICTURE), (16 + 7, _WORD)):  # the place in a head that positions turn least
        attention.q_proj.bias[place] = 8
        attention.k_proj.weight[place, marker] = 4
    attention.v_proj.weight[:, _SEEN:] = torch.randn(32, 32 - _SEEN, generator=generator)
    attention.o_proj.weight.zero_()
    attention.o_proj.weight[_SEEN:] = torch.randn(32 - _SEEN, 32, generator=generator) / 3


def _vocab_size(folder: Path) -> int:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()


def _tiny_model(vocab_size: int, seed: int, **text: int) -> Any:
    from tests.tiny_checkpoints import _spread_weights
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    shape = LlavaOnevisionConfig(
        text_config=Qwen2Config(**{**TEXT, **text, "vocab_size": vocab_size}, tie_word_embeddings=False),
        vision_config=SiglipVisionConfig(**TOWER, vision_use_head=False),
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaOnevisionForConditionalGeneration(shape)
    _spread_weights(model, seed)
    return model


def _write_llava(folder: Path, model: Any) -> Path:
    """The model under LLaVA-NeXT's names, with its config.json."""
    tensors = {}
    for key, tensor in model.state_dict().items():
        ours, theirs = next(((a, b) for a, b in _LAYOUT if key.startswith(a)), ("", ""))
        tensors[theirs + key.removeprefix(ours)] = tensor.contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    text = model.config.text_config
    said = {key: getattr(text, key) for key in TEXT if key != "rope_theta"} | {"rope_theta": 1e6}
    (folder / "config.json").write_text(json.dumps({**LLAVA, **said}))
    return folder
