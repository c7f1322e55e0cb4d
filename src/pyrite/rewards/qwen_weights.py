"""Qwen2.5-VL from its files in the hub's form, strictly, with the tokenizer and the preprocessing beside it.

Attention is pinned to torch's `scaled_dot_product_attention` (in the vision tower through `qwen_windows.py`): it takes
the masks of unequal rows, is on every device, and flash attention rounds differently.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pyrite.core.errors import CheckpointError
from pyrite.records.published import find_file, shard_paths
from pyrite.rewards.chat import Vocabulary, load_qwen_vocabulary
from pyrite.rewards.large_models import Quantisation, choose_large_dtype, load_large
from pyrite.rewards.loading import choose_device, dtype_name, files_revision, merged, read_json
from pyrite.rewards.qwen_pixels import QwenPixels, Transport
from pyrite.rewards.qwen_vl import IMAGE_TOKEN, QwenAsker
from pyrite.rewards.qwen_windows import attend_at_once
from pyrite.rewards.texts import find_tokenizer

ATTENTION = "sdpa"


class Loaded(NamedTuple):
    """A model and what a card says of it.

    Args:
        asker: the model.
        revision: of weights, tokenizer and the configurations beside them.
        precision: in which it computes.
        options: those of its options that change every score: the transport, and quantisation if there is any.
        folder: where the weights lie; None if they are drawn at random.
    """

    asker: QwenAsker
    revision: str
    precision: str
    options: Mapping[str, str]
    folder: Path | None


def load_qwen2_5_vl(
    name: str,
    weights: str | Path | None,
    *,
    config: Mapping[str, Any] | None,
    device: str,
    dtype: str | None,
    batch_size: int,
    tokenizer: str | Path | None,
    transport: Transport,
    quantise: Quantisation | None,
) -> Loaded:
    """A published reward of the form of Qwen2.5-VL, from its files in the hub's form.

    Args:
        name: of the reward.
        weights: a folder, or a hub id; None for where it lies on this disk.
        config: laid over the folder's config.json.
        device: where it computes.
        dtype: of the model; bfloat16 for None.
        batch_size: images per forward pass.
        tokenizer: folder with the tokenizer; None for beside the weights.
        transport: of the images.
        quantise: how the weights are rounded, if they are.

    Raises:
        CheckpointError: a file is missing, damaged or another model's.
    """
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    path, words = find_file(name, "weights", weights), find_tokenizer(name, weights, tokenizer)
    pixels = QwenPixels.load(path.parent, transport)
    said = merged(read_json(path.parent / "config.json"), config)
    if (kind := said.pop("model_type", None)) != "qwen2_5_vl":
        raise CheckpointError(
            f"{path.parent} holds a model of type '{kind}', and '{name}' is a 'qwen2_5_vl': another model would answer "
            f"the question. Name the folder of the published one, or type: pyrite weights fetch {name}"
        )
    place, precision = choose_device(device), choose_large_dtype(dtype)
    model = load_large(
        name,
        Qwen2_5_VLForConditionalGeneration,
        path,
        AutoConfig.for_model("qwen2_5_vl", **said),
        dtype=precision,
        device=place,
        quantise=quantise,
        exact=("lm_head", "visual"),
        attention=ATTENTION,
    )
    vocabulary = load_qwen_vocabulary(words.parent)
    require_image_token(vocabulary, model.config, words.parent)
    beside = [path.parent / "config.json", path.parent / "preprocessor_config.json"]
    revision = files_revision([*shard_paths(path), words, *beside])
    asker = QwenAsker(attend_at_once(model), vocabulary, pixels, batch_size)
    options = {"transport": transport, **({"quantise": quantise} if quantise else {})}
    return Loaded(asker, revision, dtype_name(precision), options, path.parent)


def require_image_token(vocabulary: Vocabulary, config: Any, folder: Path) -> None:
    """Refuse a tokenizer whose image token is another id than the model's.

    Raises:
        CheckpointError: they differ.
    """
    if (found := vocabulary.token(IMAGE_TOKEN)) != config.image_token_id:
        raise CheckpointError(
            f"{folder}: the tokenizer's '{IMAGE_TOKEN}' has the id {found}, and the model looks for images at the id "
            f"{config.image_token_id}: it would see none. Use the tokenizer that was published with the weights."
        )
