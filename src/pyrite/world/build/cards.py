"""The card of each pocket checkpoint: what it was trained on, how well it follows gold, what its known holes are."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyrite.records.weights import checkpoints_root, write_manifest_entry


@dataclass(frozen=True)
class CheckpointCard:
    """The prose of a card; the numbers are the builder's."""

    summary: str
    trained_on: str
    known_holes: str


CARDS: Mapping[str, CheckpointCard] = {
    "janus-pocket": CheckpointCard(
        "The base policy: a tiny Janus that writes a layout plan and then draws 64 image tokens.",
        "30,000 rendered scenes with their prompts and plans; a fifth break their prompt and a fifth are damaged, and "
        "eight of the forty (colour, shape) pairs never occur. The image tokens are those of a VQ model trained on "
        "the same scenes.",
        "Imperfect on purpose: it miscounts, mixes up colours of held-out pairs and sometimes draws damaged shapes.",
    ),
    "hps-pocket": CheckpointCard(
        "Preference model of CLIP form, as HPSv2; its annotators have a weakness for vivid pictures.",
        "Pairs of pictures of one prompt (samples of the base policy, and renders) labelled by 4 x alignment + "
        "3 x realism + 0.7 x saturation + 0.2 x contrast (the last two in standard deviations of base samples), with "
        "a quarter of the labels flipped; Bradley-Terry loss on a contrastively pre-trained CLIP.",
        "Saturated colour and more or larger objects raise it whatever the prompt says; it has never seen what an "
        "optimised policy draws.",
    ),
    "pickscore-pocket": CheckpointCard(
        "Preference model of CLIP form, as PickScore; its annotators have a weakness for contrast.",
        "The same pairs, labelled by 4 x alignment + 3 x realism + 0.6 x contrast, a quarter of the labels flipped; "
        "another seed, the same contrastive pre-training (as HPSv2 and PickScore share OpenCLIP's).",
        "Dark and large objects raise it. It shares its pre-training and its pictures with hps-pocket, so the two are "
        "not independent witnesses.",
    ),
    "aesthetic-pocket": CheckpointCard(
        "Aesthetic predictor, as LAION's: a linear head on a CLIP image tower; blind to the prompt.",
        "Ridge regression on the image embeddings of the pocket CLIP: opinion = 5 + 2 x realism + 0.8 x saturation + "
        "noise of 0.7.",
        "Blind to the prompt and fond of saturation: optimised alone it ruins alignment within tens of steps.",
    ),
    "artifact-pocket": CheckpointCard(
        "Artifact model: probability that a picture has no artifact; blind to the prompt.",
        "Clean renders against renders with planted noise, blur, stripes, mosaic, smears, blotches, warps and holes, "
        "half of them seen through the tokeniser; never a policy's own output.",
        "Shuffled cells and burnt colours were not among its training damage, and it does not know the prompt: "
        "well-drawn superfluous objects pass.",
    ),
    "detector-pocket": CheckpointCard(
        "Open-vocabulary detector (OWL-ViT), scored by the arithmetic of GroundingDINO's reward.",
        "Rendered scenes with the boxes of their objects, half of them seen through the tokeniser and a fifth damaged; "
        "its towers begin as the pocket CLIP's. No preference and no policy's output.",
        "It looks for what the prompt names and for nothing else: superfluous objects, and broken ones that it still "
        "recognises, cost nothing.",
    ),
    "orm-pocket": CheckpointCard(
        "Yes/no judge (LLaVA-OneVision), asked ORM's question: does the picture show what the prompt says.",
        "Scenes with their own prompts (yes) and with other prompts, among them near misses (no), and samples of the "
        "base policy answered by gold alignment; its vision tower begins as the pocket CLIP's.",
        "Blind to artifacts: a damaged picture of the right objects is a yes. Its answers on policy samples are the "
        "truth about alignment, so it is the pocket world's most honest proxy as long as pictures look like those.",
    ),
}


def publish(checkpoints: Path, name: str, *, quality: Mapping[str, float], settings: Mapping[str, object]) -> None:
    """Write the card beside a finished checkpoint and list its files, with their hashes, in the manifest."""
    card = CARDS[name]
    measured = "\n".join(f"| {key} | {value:.4g} |" for key, value in quality.items())
    (checkpoints / name / "README.md").write_text(
        f"# {name}\n\n{card.summary}\n\n"
        f"**Trained on.** {card.trained_on}\n\n**Known holes.** {card.known_holes}\n\n"
        f"**Measured on held-out data by the builder** (seed {settings['seed']}).\n\n"
        f"| measure | value |\n|---|---|\n{measured}\n\n"
        "Made by `pyrite world build`; weights are Apache-2.0 like the code.\n"
    )
    write_manifest_entry(checkpoints, name, summary=card.summary, quality=dict(quality), settings=dict(settings))


def install(checkpoints: Path) -> Path:
    """Replace the checkpoints that Pyrite uses by those of a finished build; returns their folder."""
    root = checkpoints_root()
    shutil.copytree(checkpoints, root, dirs_exist_ok=True)
    return root
