"""A Janus of DeepSeek's own code becomes one of transformers': the same tensors, pictures and probabilities."""

import json
import pickle  # noqa: TID251 - a file as an attacker would write it
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.tiny_janus_pro import new_pro, pro_tokenizer
from torch import Tensor
from typer.testing import CliRunner

from pyrite.cli.main import app
from pyrite.core.errors import CheckpointError
from pyrite.core.types import Prompt, Rollouts
from pyrite.policies import janus_original
from pyrite.policies.janus import load_janus
from pyrite.policies.janus_choosing import Sampling
from pyrite.policies.janus_pro import ProSequences
from pyrite.policies.janus_pro_model import JanusProModel

GOLDEN = Path(__file__).parents[1] / "goldens" / "janus"
HEADS = 2


def original_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names turned back by hand, with what only the original has."""
    turned: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = name
        if name.startswith("model.language_model."):
            key = "language_model.model." + name.removeprefix("model.language_model.")
        elif name == "lm_head.weight":
            key = "language_model.lm_head.weight"
        elif name.startswith("model.vqmodel."):
            key = "gen_vision_model." + name.removeprefix("model.vqmodel.")
            for new, old in (
                ("encoder.down.", "encoder.conv_blocks."),
                ("decoder.up.", "decoder.conv_blocks."),
                ("mid.block_1", "mid.0"),
                ("mid.attn_1", "mid.1"),
                ("mid.block_2", "mid.2"),
                (".block.", ".res."),
            ):
                key = key.replace(new, old)
        elif name.startswith("model.generation_embeddings"):
            key = name.replace("model.generation_embeddings", "gen_embed")
        elif name.startswith("model.generation_head"):
            key = name.replace("model.generation_head", "gen_head").replace("proj_out", "output_mlp_projector")
        elif name.startswith(("model.generation_aligner", "model.aligner")):
            key = name.replace("model.generation_aligner", "gen_aligner").replace("model.aligner", "aligner")
            key = key.replace("fc1", "layers.0").replace("hidden_layers.0", "layers.2")
        elif name.startswith("model.vision_model."):
            key = "vision_model.vision_tower." + name.removeprefix("model.vision_model.")
            if "position_embedding" in key:
                turned["vision_model.vision_tower.pos_embed"] = tensor[None]
                continue
            for new, old in (
                ("embeddings.patch_embedding", "patch_embed.proj"),
                ("post_layernorm", "norm"),
                ("encoder.layers", "blocks"),
                ("layer_norm", "norm"),
                ("self_attn.projection_layer", "attn.proj"),
                ("self_attn", "attn"),
            ):
                key = key.replace(new, old)
            if ".attn.q_proj." in key:
                parts = [tensors[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
                turned[key.replace("q_proj", "qkv")] = torch.cat(parts)
                continue
            if ".attn.k_proj." in key or ".attn.v_proj." in key:
                continue
        turned[key] = tensor
    turned["vision_model.vision_tower.attn_pool.latent"] = torch.ones(1, 1, 16)
    turned["gen_vision_model.quantize.codebook_used"] = torch.zeros(65536)
    return {key: tensor.clone().contiguous() for key, tensor in turned.items()}


CONFIG: dict[str, Any] = {
    "architectures": ["MultiModalityCausalLM"],
    "model_type": "multi_modality",
    "torch_dtype": "float32",
    "aligner_config": {"params": {"depth": 2, "input_dim": 16, "n_embed": 32, "projector_type": "mlp_gelu"}},
    "gen_aligner_config": {"params": {"depth": 2, "input_dim": 8, "n_embed": 32, "projector_type": "mlp_gelu"}},
    "gen_head_config": {"params": {"image_token_embed": 32, "image_token_size": 24, "n_embed": 32}},
    "gen_vision_config": {"cls": "VQ-16", "params": {"image_token_size": 24, "n_embed": 8}},
    "vision_config": {"params": {"image_size": 16, "model_name": "siglip_large_patch16_384"}},
    "language_config": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "torch_dtype": "float32",
    },
}


def write_original(folder: Path, form: str) -> dict[str, Tensor]:
    """A tiny Janus in the original format; returns the tensors it was made of, under transformers' names."""
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = new_pro(), pro_tokenizer()
    tokenizer.save_pretrained(folder)
    language = {**CONFIG["language_config"], "vocab_size": model.config.text_config.vocab_size}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "language_config": language}))
    tensors = original_names(model.state_dict())
    names = sorted(tensors)
    shards = {"a": names[::2], "b": names[1::2]}
    if form == "pickle":
        torch.save(tensors, folder / "pytorch_model.bin")
    elif form == "safetensors":
        save_file(tensors, folder / "model.safetensors")
    else:
        suffix = ".bin" if form == "pickled shards" else ".safetensors"
        stem = "pytorch_model" if form == "pickled shards" else "model"
        for shard, keys in shards.items():
            part = {key: tensors[key] for key in keys}
            write = torch.save if suffix == ".bin" else save_file
            write(part, folder / f"{stem}-{shard}{suffix}")
        where = {key: f"{stem}-{shard}{suffix}" for shard, keys in shards.items() for key in keys}
        (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"weight_map": where}))
    return dict(model.state_dict())


@pytest.mark.parametrize("form", ["pickle", "pickled shards", "safetensors", "safetensors shards"])
def test_a_converted_model_has_the_same_tensors_and_draws_the_same(tmp_path: Path, pro_folder: Path, form: str) -> None:
    tensors = write_original(tmp_path / "original", form)
    folder = janus_original.convert(tmp_path / "original", tmp_path / "converted", vision_heads=HEADS)
    converted = load_janus(folder, cfg_scale=5.0, device="cpu")
    found = converted.module.janus.state_dict()
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    reference = load_janus(pro_folder, cfg_scale=5.0, device="cpu")  # the same weights, written by transformers
    draws = [
        policy.sample([Prompt("a red circle")], group_size=2, rngs=[np.random.default_rng(0)])
        for policy in (converted, reference)
    ]
    assert draws[0].tokens.tolist() == draws[1].tokens.tolist()
    assert np.array_equal(draws[0].behaviour_logp, draws[1].behaviour_logp)
    assert not (tmp_path / "converted.part").exists()


def test_a_converted_folder_serves_the_library(tmp_path: Path) -> None:
    from transformers import JanusForConditionalGeneration
    from transformers.models.janus.processing_janus import JanusProcessor

    write_original(tmp_path / "original", "safetensors")
    folder = janus_original.convert(tmp_path / "original", tmp_path / "converted", vision_heads=HEADS)
    processor = JanusProcessor.from_pretrained(folder)
    chat = [{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text == "<|User|>: a cat\n\n<|Assistant|>:"
    janus = JanusForConditionalGeneration.from_pretrained(folder)
    settings = janus.generation_config
    assert settings.generation_kwargs["boi_token_id"] == processor.tokenizer.boi_token_id
    assert (settings.guidance_scale, settings.pad_token_id) == (5.0, processor.tokenizer.pad_token_id)


def unknown_tensor(folder: Path) -> None:
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({**tensors, "aligner.high_up_proj.weight": torch.ones(2)}, folder / "pytorch_model.bin")


def missing_tensor(folder: Path) -> None:
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del tensors["gen_head.vision_head.bias"]
    torch.save(tensors, folder / "pytorch_model.bin")


def needs_code(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return print, ("this would run",)

    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"weight": Evil()}, file)


def no_weights(folder: Path) -> None:
    (folder / "pytorch_model.bin").unlink()


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def other_model(folder: Path) -> None:
    row = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**row, "model_type": "llava"}))


def wider_head(folder: Path) -> None:
    row = json.loads((folder / "config.json").read_text())
    row["gen_head_config"]["params"]["image_token_embed"] = 48
    (folder / "config.json").write_text(json.dumps(row))


def sizes_unsaid(folder: Path) -> None:
    row = json.loads((folder / "config.json").read_text())
    del row["gen_vision_config"]
    (folder / "config.json").write_text(json.dumps(row))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unknown_tensor, r"1 tensors have no place .*aligner.high_up_proj.weight"),
        (missing_tensor, r"1 tensors do not fit .model.generation_head.vision_head.bias: missing for"),
        (needs_code, "a pickle that needs code"),
        (no_weights, "holds no weights"),
        (no_tokenizer, "no tokenizer could be read"),
        (other_model, "does not describe a Janus in the format of DeepSeek's own code"),
        (wider_head, "the generation head is 48 wide and the language model 32"),
        (sizes_unsaid, "is not laid out as a published Janus-Pro .KeyError: 'gen_vision_config'"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(
    tmp_path: Path, damage: Callable[[Path], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_original(tmp_path / "original", "pickle")
    damage(tmp_path / "original")
    with pytest.raises(CheckpointError, match=message):
        janus_original.convert(tmp_path / "original", tmp_path / "converted", vision_heads=HEADS)
    assert not (tmp_path / "converted").exists()
    assert "this would run" not in capsys.readouterr().out


def test_what_is_there_is_not_mixed_with_new_files(tmp_path: Path) -> None:
    write_original(tmp_path / "original", "safetensors")
    (tmp_path / "converted").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        janus_original.convert(tmp_path / "original", tmp_path / "converted", vision_heads=HEADS)


def test_the_original_format_itself_names_the_command_that_converts_it(tmp_path: Path) -> None:
    write_original(tmp_path / "original", "safetensors")
    with pytest.raises(CheckpointError, match="pyrite weights convert janus --weights"):
        load_janus(tmp_path / "original", device="cpu")


def test_the_command_writes_a_folder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_original(tmp_path / "Janus-Pro-0B", "pickle")
    monkeypatch.setenv("PYRITE_WEIGHTS", str(tmp_path / "weights"))
    done = CliRunner().invoke(app, ["weights", "convert", "janus", "--weights", str(tmp_path / "Janus-Pro-0B")])
    assert done.stdout == f"janus: {tmp_path / 'weights' / 'Janus-Pro-0B'}\n"
    chosen = tmp_path / "chosen"
    given = ["--weights", str(tmp_path / "Janus-Pro-0B"), "--out", str(chosen)]
    assert CliRunner().invoke(app, ["weights", "convert", "janus", *given]).exit_code == 0
    for folder in (tmp_path / "weights" / "Janus-Pro-0B", chosen):
        assert load_janus(folder, device="cpu").card.num_tokens == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["janus"], "which Janus?"), (["maniqa", "--out", "x"], "--out names the folder of one policy")],
    ids=["no folder", "out of a reward"],
)
def test_the_command_says_what_it_needs(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["weights", "convert", *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


# ------------------------------------------------ what the official code gave for tiny weights (tests/goldens/janus)


@pytest.fixture(scope="module")
def golden() -> Any:
    """The official weights in transformers' model, by our conversion."""
    from transformers import JanusConfig, JanusForConditionalGeneration

    folder = GOLDEN / "deepseek"
    tensors = janus_original.read_weights(folder)
    row = json.loads((folder / "config.json").read_text())
    config = JanusConfig(**janus_original._config(row, tensors, folder, vision_heads=4))
    config.text_config.pad_token_id = 3
    with torch.device("meta"):
        janus = JanusForConditionalGeneration(config)
    janus_original._place(janus, janus_original.rename(tensors, folder), folder)
    return JanusForConditionalGeneration.from_pretrained(None, config=config, state_dict=janus.state_dict()).eval()


class GivenIds:
    """In place of a chat layout: the fixture gives token ids."""

    bos_id, pad_id, plan = 1, 3, None

    def __init__(self) -> None:
        row = json.loads((GOLDEN / "inputs.json").read_text())
        self.rows = [
            [index for index, is_token in zip(ids, mask, strict=True) if is_token]
            for ids, mask in zip(row["prompt_ids"], row["attention_mask"], strict=True)
        ]
        self.boi_id = self.rows[0][-1]

    def image_prefixes(self, prompts: list[Prompt], plans: None = None, *, room: int) -> list[list[int]]:
        return [self.rows[int(prompt.text)] for prompt in prompts]

    def without_prompt(self, row: list[int]) -> list[int]:
        return [row[0], *[self.pad_id] * (len(row) - 2), row[-1]]


def golden_policy(janus: Any, **sampling: float) -> tuple[JanusProModel, ProSequences]:
    how = Sampling(**sampling)
    model = JanusProModel(
        janus, plans=False, temperature=1.0, plan_temperature=1.0, compute=torch.float32, logp_chunk=None
    )
    return model, ProSequences(GivenIds(), how, 64)  # type: ignore[arg-type]


SAID = json.loads((GOLDEN / "scores.json").read_text())


def test_log_probabilities_are_those_of_the_official_code(golden: Any) -> None:
    codes = np.array(json.loads((GOLDEN / "inputs.json").read_text())["image_ids"])
    model, sequences = golden_policy(golden)
    blank = np.zeros(codes.shape, np.float32)
    rollouts = Rollouts([Prompt(str(row)) for row in range(3)], 1, [None] * 3, codes, blank, blank == 0)  # type: ignore[list-item]
    with torch.no_grad():
        logp = model(*sequences.inputs(rollouts, torch.device("cpu"))).numpy()
    expected = SAID["image_token_logps_mask_positions"]
    np.testing.assert_allclose(logp, expected, rtol=0, atol=SAID["tolerance"]["logps_abs"])


def test_greedy_guided_codes_are_those_of_the_official_code(golden: Any) -> None:
    model, sequences = golden_policy(golden, cfg_scale=5.0, temperature=1e-5)
    with torch.inference_mode():
        drawn, _ = sequences.draw(model, [Prompt("0")], 1, torch.full((1, 64), 0.5))
    assert drawn.ids[0].tolist() == SAID["greedy_cfg_ids_row0"]


def test_decoded_pixels_are_those_of_the_official_code(golden: Any) -> None:
    codes = torch.tensor(json.loads((GOLDEN / "inputs.json").read_text())["image_ids"])
    with torch.no_grad():
        pixels = golden.model.vqmodel.decode(codes)
    for image, probe in zip(pixels.numpy(), SAID["decode"]["probes"], strict=True):
        np.testing.assert_allclose(image.ravel()[:6], probe["first"], rtol=0, atol=SAID["tolerance"]["decode_abs"])
        assert abs(float(np.linalg.norm(image)) - probe["l2"]) < 1e-3


def test_conversion_can_be_repeated_after_a_kill(tmp_path: Path) -> None:
    write_original(tmp_path / "original", "safetensors")
    shutil.copytree(tmp_path / "original", tmp_path / "converted.part")  # what a killed one left
    folder = janus_original.convert(tmp_path / "original", tmp_path / "converted", vision_heads=HEADS)
    assert "config.json" in {path.name for path in folder.iterdir()}
    assert json.loads((folder / "config.json").read_text())["model_type"] == "janus"
