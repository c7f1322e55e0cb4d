"""Tiny random models in the formats of the pocket checkpoints: the same files, nothing learned."""

import itertools
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("circle", "square", "triangle", "star", "cross", "circles", "squares", "triangles", "stars", "crosses")
PLACES = ("left", "right", "above", "below", "of", "and")
WORDS = ("a", "an", "photo", "two", "three", "four", *COLOURS, *SHAPES, *PLACES)


def _spread_weights(model: torch.nn.Module, seed: int) -> None:
    """Larger weights than the library draws, so that outputs depend on inputs visibly."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 1.2 / parameter.shape[1] ** 0.5, generator=generator)
            elif parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def _word_tokenizer(specials: tuple[str, ...], **named: object):
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate((*specials, *WORDS))}
    unknown = {"unk_token": "<unk>"} if "<unk>" in specials else {}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, **unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if "<eos>" in specials:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[(token, vocabulary[token]) for token in ("<bos>", "<eos>")]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", **unknown, **named)


def write_janus(folder: Path, *, plan_tokens: int = 3, prompt_tokens: int = 12, kv_heads: int = 2) -> Path:
    from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, LlamaConfig
    from transformers.models.janus import JanusVQVAEConfig

    tokenizer = _word_tokenizer(
        ("<pad>", "<bos>", "<boi>", "<plan>", "<none>"), additional_special_tokens=["<boi>", "<plan>", "<none>"]
    )
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            max_position_embeddings=128,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=None,
            tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": 48.0},
        ),
        vision_config=JanusVisionConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            image_size=16,
            patch_size=4,
            projection_dim=32,
            num_image_tokens=16,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=24,
            num_patches=4,
            projection_dim=32,
            image_token_embed_dim=32,
            base_channels=32,
            latent_channels=32,
            channel_multiplier=[1, 1, 1],
            num_res_blocks=0,
        ),
        image_token_id=0,
        tie_word_embeddings=False,
    )
    model = JanusForConditionalGeneration(config)
    _spread_weights(model, seed=0)
    settings = model.generation_config
    settings._from_model_config = False
    settings.generation_kwargs = {"boi_token_id": 2}
    settings.pad_token_id, settings.bos_token_id = 0, 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "pyrite_policy.json").write_text(json.dumps({"prompt_tokens": prompt_tokens, "plan_tokens": plan_tokens}))
    return folder


def _write_processor(folder: Path, size: int) -> None:
    from transformers import CLIPImageProcessorPil

    CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size}).save_pretrained(
        folder
    )


def write_clip(folder: Path, *, seed: int = 0, size: int = 16) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    tokenizer = _word_tokenizer(("<pad>", "<bos>", "<unk>", "<eos>"), eos_token="<eos>", model_max_length=14)
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=CLIPTextConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=14,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=3,
            **tower,
        ).to_dict(),
        vision_config=CLIPVisionConfig(image_size=size, patch_size=8, **tower).to_dict(),
        projection_dim=8,
    )
    model = CLIPModel(config)
    _spread_weights(model, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_processor(folder, size)
    return folder


def write_aesthetic(folder: Path, *, widths: tuple[int, ...] = (8, 6, 1), activation: str = "none") -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            image_size=16,
            patch_size=8,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=8,
        )
    )
    _spread_weights(model, seed=1)
    model.save_pretrained(folder)
    _write_processor(folder, 16)
    generator = torch.Generator().manual_seed(2)
    head = {}
    for index, (wide, narrow) in enumerate(itertools.pairwise(widths)):
        head[f"layers.{index}.weight"] = torch.randn(narrow, wide, generator=generator)
        head[f"layers.{index}.bias"] = torch.randn(narrow, generator=generator)
    save_file(head, folder / "head.safetensors")
    (folder / "head_config.json").write_text(json.dumps({"widths": list(widths), "activation": activation}))
    return folder


def write_artifact(folder: Path, *, labels: tuple[str, ...] = ("clean", "blur", "fragments")) -> Path:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(
        ViTConfig(
            image_size=16,
            patch_size=8,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
    )
    _spread_weights(model, seed=3)
    model.save_pretrained(folder)
    _write_processor(folder, 16)
    return folder


def write_clip_vocabulary(folder: Path) -> Path:
    """A vocabulary of CLIP's form and size that knows single letters only, so that it is nobody's."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [f"<filler {index}>" for index in range(49406 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def write_bert_vocabulary(folder: Path) -> Path:
    """A vocabulary of BERT's form and size that knows single letters only."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'"
    words = ["[PAD]", *(f"[unused{index}]" for index in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [*letters, *(f"##{letter}" for letter in letters)]
    words += [f"[filler{index}]" for index in range(30522 - len(words))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


MANIQA_CONFIG = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "dim_mlp": 16, "num_heads": [2, 2], "vit_heads": 2}


def write_maniqa(folder: Path) -> Path:
    """A MANIQA of `MANIQA_CONFIG` in the official format, tensors that nothing uses included."""
    from pyrite.rewards.maniqa_model import Maniqa, ManiqaShape

    model = Maniqa(ManiqaShape.of(MANIQA_CONFIG))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    unused = ("vit.norm.weight", "vit.head.bias", "vit.blocks.11.norm1.bias", "swintransformer1.downsample.bias")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({**model.state_dict(), **{name: torch.ones(3) for name in unused}}, folder / "ckpt_koniq10k.pt")
    return folder


def write_detector(folder: Path, *, seed: int = 0) -> Path:
    """An OWL-ViT with boxes on their cells, which takes about half of what it sees for what it is asked for."""
    from pyrite.world.build.detector import new_detector, save_detector

    torch.manual_seed(seed)
    model = new_detector()
    _spread_weights(model.owlvit, seed)
    torch.nn.init.constant_(model.class_head.logit_scale.bias, 20.0)
    torch.nn.init.constant_(model.class_head.logit_shift.bias, 0.03)
    save_detector(model, folder)
    return folder


def write_judge(folder: Path, *, seed: int = 0) -> Path:
    from pyrite.cli.world import _neighbours
    from pyrite.world.build.judge import new_judge, save_judge
    from pyrite.world.vocabulary import judge_tokenizer

    torch.manual_seed(seed)
    question = _neighbours("cpu").question
    model = new_judge(len(judge_tokenizer(*question)))
    _spread_weights(model, seed)
    save_judge(model, question, folder)
    return folder
