"""One page for all tests that only read it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.audit.pairs.planted import ladder_of

from pyrite.audit.pairs.card import Card, make_card
from pyrite.audit.pairs.images import pair_up
from pyrite.audit.report.pair_page import write_pair_page

ATTACK = "<script>document.title='owned'</script>\"><img src=https://example.invalid/x onerror=alert(1)>"
KINDS = ("patch_swap", "inconsistent_lighting", "smear", ATTACK)
SCORES = {
    "artifact-pocket": lambda picture, kind, severity, broken, rng: -severity * broken + rng.normal(0, 0.1),
    "hps-pocket": lambda picture, kind, severity, broken, rng: (
        picture / 30 + severity * broken * {"smear": 0.8, "patch_swap": -0.8}.get(kind, 0) + rng.normal(0, 0.2)
    ),
    "jpeg_incompressibility": lambda picture, kind, severity, broken, rng: severity * (kind != "smear"),
    "constant": lambda *_: 1.0,
    ATTACK: lambda picture, kind, severity, broken, rng: rng.normal(),
}


@pytest.fixture(scope="session")
def planted_card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    """Twenty pictures on a ladder of four kinds and two neutral changes, with images."""
    folder = tmp_path_factory.mktemp("planted")
    images = ladder_of(20, SCORES, kinds=KINDS, neutral=("flip", "jpeg"))
    rng = np.random.default_rng(0)
    names = []
    for row in range(len(images)):
        name = f"{row}.png"
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
        names.append(name)
    names[0] = "../outside.png"
    return make_card(pair_up(replace(images, images=np.array(names), folder=folder)))


@pytest.fixture(scope="session")
def pair_page(planted_card: Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair_page(
        planted_card, tmp_path_factory.mktemp("page") / "out" / "pairs.html", title=f"Pairs {ATTACK}"
    )
