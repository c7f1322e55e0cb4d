"""Tiny random CLIP-FlanT5 and mPLUG-Owl2 in their official formats, and vocabularies trained on a few sentences."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SENTENCES = (
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER:",
    'Does this figure show "a photo of a red circle"? Please answer yes or no. ASSISTANT: Yes',
    "How would you rate the quality of this image? The quality of the image is",
    *("excellent good fair poor bad", "Yes") * 20,
    "two blue stars above a green cross, a pink square, three yellow crosses",
)

VQA_CONFIG: dict[str, Any] = {
    "model_type": "clip_t5",
    "d_model": 16,
    "d_ff": 24,
    "d_kv": 8,
    "num_heads": 2,
    "num_layers": 2,
    "num_decoder_layers": 1,
    "vision": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
    },
}
OWL_CONFIG: dict[str, Any] = {
    "model_type": "mplug_owl2",
    "vocab_size": 500,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "visual_config": {
        "visual_model": {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
        },
        "visual_abstractor": {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_learnable_queries": 3,
        },
    },
}


def _train(file: Path, **options: Any) -> Path:
    """A SentencePiece vocabulary of `SENTENCES`, nobody's."""
    from sentencepiece import SentencePieceTrainer

    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4), model_writer=written, minloglevel=2, num_threads=1, **options
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(written.getvalue())
    return file.parent


def write_t5_vocabulary(folder: Path) -> Path:
    """spiece.model in T5's form, of 130 pieces."""
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    return _train(folder / "spiece.model", model_type="bpe", vocab_size=130, **ids)


def write_llama_vocabulary(folder: Path) -> Path:
    """tokenizer.model in Llama's form, of at most 500 pieces, with bytes for what it does not know."""
    ids = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
    return _train(folder / "tokenizer.model", model_type="bpe", vocab_size=420, byte_fallback=True, **ids)


def _drawn(shapes: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Random tensors of these shapes: matrices that keep the size of what they multiply, norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape.shape, generator=generator)
        if shape.ndim > 1:
            drawn[name] = noise if "embed" in name or "shared" in name else 1.5 * noise / shape[0].numel() ** 0.5
        else:
            drawn[name] = 0.2 * noise + (name.endswith("weight") and "norm" in name)
    return drawn


def vqa_tensors(answer: list[int], num_rows: int = 260, *, seed: int = 5) -> dict[str, Tensor]:
    """A clip-flant5 under the official names: one table of embeddings four times, and a tower with all its layers.

    Args:
        answer: the ids whose probability matters.
        num_rows: of the embeddings; more than the vocabulary has ids, as in the published files.
        seed: of the weights.
    """
    from transformers import CLIPVisionModel

    from pyrite.rewards.clip_t5 import language_class, language_config, projector_layers, tower_config

    vision = {**VQA_CONFIG["vision"], "num_hidden_layers": VQA_CONFIG["vision"]["num_hidden_layers"] + 1}
    with torch.device("meta"):
        tower = CLIPVisionModel(tower_config(vision)).state_dict()
        projector = projector_layers(16, 16).state_dict()
        language = language_class()(language_config("vqascore", VQA_CONFIG, num_rows)).state_dict()
    tensors = _drawn(language, seed)
    # So that an answer is now likely and now unlikely, instead of one of two hundred equals.
    tensors["lm_head.weight"] *= torch.where(torch.isin(torch.arange(num_rows), torch.tensor(answer)), 6, 0.1)[:, None]
    table = tensors["shared.weight"]
    tensors |= dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "embed_tokens.weight"), table
    )
    tensors |= {f"vision_tower.vision_tower.vision_model.{name}": row for name, row in _drawn(tower, seed + 1).items()}
    return tensors | {f"mm_projector.{name}": row for name, row in _drawn(projector, seed + 2).items()}


def write_vqascore(folder: Path, *, seed: int = 5) -> dict[str, Any]:
    """pytorch_model.bin, config.json and spiece.model; gives the options that load them."""
    from pyrite.rewards.pieces import read_pieces
    from pyrite.rewards.vqascore import QuestionReader

    write_t5_vocabulary(folder)
    (folder / "config.json").write_text(json.dumps(VQA_CONFIG))
    answer = QuestionReader(read_pieces(folder / "spiece.model")).answer
    torch.save(vqa_tensors(answer, seed=seed), folder / "pytorch_model.bin")
    return {"weights": folder / "pytorch_model.bin", "dtype": "float32"}


def owl_tensors(*, seed: int = 8) -> dict[str, Tensor]:
    """An mPLUG-Owl2 under the official names, query, key and value of its ViT in one tensor."""
    heads, width = 2, 16
    sizes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embedding": (1, 5, width),
        "embeddings.patch_embed.weight": (width, 3, 14, 14),
    }
    norms = ["embeddings.pre_layernorm", "post_layernorm"]
    for layer in range(2):
        here = f"encoder.layers.{layer}"
        norms += [f"{here}.input_layernorm", f"{here}.post_attention_layernorm"]
        linear = {"self_attn.query_key_value": (3 * width, width), "self_attn.dense": (width, width)}
        for name, (wide, narrow) in {**linear, "mlp.fc1": (24, width), "mlp.fc2": (width, 24)}.items():
            sizes |= {f"{here}.{name}.weight": (wide, narrow), f"{here}.{name}.bias": (wide,)}
    sizes |= {f"{name}.{kind}": (width,) for name in norms for kind in ("weight", "bias")}
    assert width % heads == 0
    vision = {f"model.vision_model.{name}": torch.empty(size, device="meta") for name, size in sizes.items()}
    return _drawn({**vision, **_abstractor_shapes(width), **_llama_shapes()}, seed)


def _abstractor_shapes(width: int) -> dict[str, Tensor]:
    sizes: dict[str, tuple[int, ...]] = {"query_embeds": (1, 3, width), "vit_eos": (1, 1, width)}
    sizes |= {"visual_fc.weight": (width, width), "visual_fc.bias": (width,)}
    for layer in range(2):
        cross, mlp = f"encoder.layers.{layer}.crossattention", f"encoder.layers.{layer}.crossattention.output.mlp"
        sizes |= {f"{cross}.attention.q_pos_embed": (3, width), f"{cross}.attention.k_pos_embed": (5, width)}
        linear = {f"{cross}.attention.{name}": (width, width) for name in ("query", "key", "value")}
        linear |= {f"{cross}.output.out_proj": (width, width), f"{mlp}.w1": (24, width), f"{mlp}.w3": (24, width)}
        for name, (wide, narrow) in {**linear, f"{mlp}.w2": (width, 24)}.items():
            sizes |= {f"{name}.weight": (wide, narrow), f"{name}.bias": (wide,)}
        for name in (f"{cross}.norm1", f"{cross}.normk", f"{cross}.output.norm2"):
            sizes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
        sizes |= {f"{mlp}.ffn_ln.weight": (24,), f"{mlp}.ffn_ln.bias": (24,)}
    return {f"model.visual_abstractor.{name}": torch.empty(size, device="meta") for name, size in sizes.items()}


def _llama_shapes() -> dict[str, Tensor]:
    from pyrite.rewards.mplug_owl2 import language_class, owl_configs

    with torch.device("meta"):
        shapes: dict[str, Tensor] = language_class()(owl_configs(OWL_CONFIG)[0]).state_dict()
    return shapes


def write_deqa(folder: Path, *, seed: int = 8) -> dict[str, Any]:
    """model.safetensors, config.json and tokenizer.model; gives the options that load them."""
    write_llama_vocabulary(folder)
    (folder / "config.json").write_text(json.dumps(OWL_CONFIG))
    save_file(owl_tensors(seed=seed), folder / "model.safetensors")
    return {"weights": folder, "dtype": "float32"}
