"""A tiny random Janus with everything a Janus-Pro has: vision tower, aligner, chat template, prompts of any length."""

from pathlib import Path
from typing import Any

import torch
from tests.tiny_checkpoints import _spread_weights
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

BOS, EOS, PAD = "<\uff5cbegin▁of▁sentence\uff5c>", "<\uff5cend▁of▁sentence\uff5c>", "<\uff5c▁pad▁\uff5c>"
SPECIALS = (BOS, EOS, PAD, "<image_placeholder>", "<begin_of_image>", "<end_of_image>", "<|User|>", "<|Assistant|>")
TEMPLATE = "Say what is in: {} Be brief."


def pro_tokenizer() -> Any:
    """Bytes, the control tokens of Janus, and a letter that is an added token without controlling anything."""
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    tokenizer.add_tokens([AddedToken("ö", special=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={
            "image_token": "<image_placeholder>",
            "boi_token": "<begin_of_image>",
            "eoi_token": "<end_of_image>",
        },
    )


def new_pro(*, kv_heads: int = 4, width: int = 32, context: int = 256, seed: int = 0, spread: float = 1.0) -> Any:
    """The model alone; `spread` scales the weights of what decides about tokens."""
    from transformers import JanusConfig, JanusForConditionalGeneration, JanusVisionConfig, LlamaConfig
    from transformers.models.janus import JanusVQVAEConfig

    tokenizer = pro_tokenizer()
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=len(tokenizer) + 7,  # published vocabularies are padded
            hidden_size=width,
            intermediate_size=width + 16,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            **ids,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
            projection_dim=width,
            num_image_tokens=16,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=24,
            num_patches=4,
            projection_dim=width,
            image_token_embed_dim=width,
            base_channels=32,
            latent_channels=32,
            channel_multiplier=[1, 1, 2],
            num_res_blocks=1,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image_placeholder>"),
        tie_word_embeddings=False,
    )
    model = JanusForConditionalGeneration(config)
    _spread_weights(model, seed=seed)
    with torch.no_grad():
        model.lm_head.weight.mul_(spread)
    settings = model.generation_config
    settings._from_model_config = False
    settings.generation_kwargs = {"boi_token_id": tokenizer.convert_tokens_to_ids("<begin_of_image>")}
    settings.bos_token_id, settings.eos_token_id = ids["bos_token_id"], ids["eos_token_id"]
    settings.pad_token_id = ids["pad_token_id"]
    return model.eval()


def write_janus_pro(folder: Path, **shape: Any) -> Path:
    """A folder in transformers' format."""
    from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil
    from transformers.models.janus.processing_janus import JanusProcessor

    from pyrite.policies.janus_original import CHAT_TEMPLATE

    new_pro(**shape).save_pretrained(folder)
    processor = JanusProcessor(
        JanusImageProcessorPil(size={"height": 16, "width": 16}), pro_tokenizer(), chat_template=CHAT_TEMPLATE
    )
    processor.save_pretrained(folder)
    return folder
