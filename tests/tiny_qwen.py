"""Tiny random Qwen2-VL and Qwen2.5-VL models in the official files' form, with a vocabulary that is nobody's."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen2-VL's own, in its order; the real ids begin at 151643."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where Qwen's vocabularies split a text before merging."""

# Qwen2.5 adds these without calling them special.
ADDED = ("<tool_call>", "</tool_call>")
WORDS = ("yes", "Yes", "YES", "no", "No", "NO")
SCORES = tuple(f"Final Score: {1 + step / 10:g}" for step in range(41))
WIDTH = 32
TEXT: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
    "use_sliding_window": False,
    "tie_word_embeddings": False,
}
VISION: dict[str, dict[str, Any]] = {
    "qwen2_5_vl": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "spatial_patch_size": 14,
    },
    "qwen2_vl": {"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2},
}
ARCHITECTURES = {"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen2_vl": "Qwen2VLForConditionalGeneration"}


def write_qwen_tokenizer(folder: Path, *, scores: bool = False) -> Tokenizer:
    """A byte-level vocabulary with yes and no in their spellings, and Qwen's special tokens.

    Args:
        folder: gets tokenizer.json and tokenizer_config.json.
        scores: with a token for each of `SCORES`, so that a random model can answer with one.
    """
    tokenizer = Tokenizer.from_str(_plain_tokenizer())
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.add_tokens([*ADDED, *(SCORES if scores else ())])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return tokenizer


@functools.cache
def _plain_tokenizer() -> str:
    """Byte-level BPE as Qwen's, learned from the questions, so that these are not one token a letter."""
    from pyrite.rewards import artifact_vlm, hpsv3, unifiedreward_qwen

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False, min_frequency=2)
    words = [text for word in WORDS for text in (word, f"a {word}")]
    questions = [artifact_vlm.QUESTION, unifiedreward_qwen.QUESTION, hpsv3.INSTRUCTION]
    tokenizer.train_from_iterator([*(words * 500), *(questions * 2)], trainer)
    return str(tokenizer.to_str())


def write_text_model(folder: Path) -> Path:
    """A random Qwen2 that reads text alone, with its tokenizer, as any server loads it."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = write_qwen_tokenizer(folder)
    template = (
        "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n"
    )
    (folder / "chat_template.jinja").write_text(template)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def qwen_config(tokenizer: Tokenizer, model_type: str, **changes: Any) -> dict[str, Any]:
    """config.json as the hub has it: flat, the language model's settings at the top."""
    return {
        "architectures": [ARCHITECTURES[model_type]],
        "model_type": model_type,
        **TEXT,
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        "vision_config": VISION[model_type],
        **changes,
    }


def write_preprocessor(folder: Path, *, min_pixels: int = 56 * 56, max_pixels: int = 112 * 112) -> None:
    """preprocessor_config.json as the hub has it, for smaller images."""
    said = {
        "min_pixels": min_pixels,
        "max_pixels": max_pixels,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(said))


def write_qwen(
    folder: Path,
    *,
    model_type: str = "qwen2_5_vl",
    seed: int = 0,
    shards: int = 1,
    scores: bool = False,
    **changes: Any,
) -> Path:
    """A random model in the official form: flat config.json, `visual.` beside `model.`, safetensors in shards.

    Args:
        folder: gets it all.
        model_type: qwen2_5_vl or qwen2_vl.
        seed: of the weights.
        shards: how many files the tensors are spread over.
        scores: whether the model answers with one of `SCORES` and then ends.
        changes: laid over the configuration.
    """
    tokenizer = write_qwen_tokenizer(folder, scores=scores)
    write_preprocessor(folder)
    config = qwen_config(tokenizer, model_type, **changes)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = official_names(random_qwen_weights(config, seed))
    if scores:
        _make_it_answer(tensors, tokenizer)
    write_shards(folder, tensors, shards)
    return folder


def random_qwen_weights(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Tensors under the library's names, spread wider than it draws them, so that outputs depend on inputs."""
    import transformers

    whole = transformers.AutoConfig.for_model(**{**config, "rope_scaling": dict(config["rope_scaling"])})
    model = getattr(transformers, ARCHITECTURES[config["model_type"]])(whole)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 1.2 / parameter[0].numel() ** 0.5, generator=generator)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.state_dict()


def official_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that the published files have for the library's."""
    return {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): tensor.clone()
        for name, tensor in tensors.items()
    }


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], shards: int) -> None:
    """model.safetensors, or numbered files and their index."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    files = {f"model-{number + 1:05d}-of-{shards:05d}.safetensors": list(tensors)[number::shards]
             for number in range(shards)}  # fmt: skip
    for file, names in files.items():
        save_file({name: tensors[name] for name in names}, folder / file, {"format": "pt"})
    index = {
        "metadata": {"total_size": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _make_it_answer(tensors: dict[str, torch.Tensor], tokenizer: Tokenizer) -> None:
    """Weights by which the model says one of `SCORES`, which one depends on image and prompt, and then ends.

    One direction of the residual stream is the same for every token, so that rows of the language head have a bias;
    another one only the scores have, and it says that the end comes next.
    """
    always, ended = 0, 1
    embeddings, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    scores = torch.tensor([tokenizer.token_to_id(score) for score in SCORES])
    embeddings *= 6.0
    embeddings[:, always], embeddings[:, ended] = 8.0, 0.0
    embeddings[scores, ended] = 60.0
    tensors["visual.merger.mlp.2.weight"] *= 6.0
    tensors["visual.merger.mlp.2.weight"][:2] = 0.0
    tensors["visual.merger.mlp.2.bias"][:2] = torch.tensor([8.0, 0.0])
    for name, tensor in tensors.items():
        if name.startswith("model.layers.") and name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor *= 5.0
            tensor[:2] = 0.0
        if name.startswith("model.layers.") and name.endswith("q_proj.weight"):
            tensor *= 3.0
    tensors["model.norm.weight"][:] = 1.0
    head *= 3.0
    head[:, always], head[:, ended] = -60.0, 0.0
    head[scores, always], head[scores, ended] = 0.0, -60.0
    end = tokenizer.token_to_id("<|im_end|>")
    head[end] = 0.0
    head[end, always], head[end, ended] = -30.0, 60.0


HPSV3_CONFIG: dict[str, Any] = {**TEXT, "vision_config": VISION["qwen2_vl"], "head": [12, 6]}


def write_hpsv3(folder: Path, *, seed: int = 0) -> Path:
    """HPSv3.safetensors as the official code writes it, of `HPSV3_CONFIG`, and a tokenizer without its reward token."""
    tokenizer = write_qwen_tokenizer(folder)
    config = qwen_config(tokenizer, "qwen2_vl", vocab_size=tokenizer.get_vocab_size() + 1)
    tensors = official_names(random_qwen_weights(config, seed))
    generator = torch.Generator().manual_seed(seed + 1)
    for layer, (wide, narrow) in {0: (WIDTH, 12), 3: (12, 6), 5: (6, 2)}.items():
        tensors[f"rm_head.{layer}.weight"] = torch.randn(narrow, wide, generator=generator) / wide**0.5
        tensors[f"rm_head.{layer}.bias"] = torch.randn(narrow, generator=generator)
    save_file(tensors, folder / "HPSv3.safetensors", {"format": "pt"})
    return folder
