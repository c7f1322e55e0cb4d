"""The rewards by name; strings only, so that listing them imports no torch."""

from pyrite.core.registry import Entry, Registry

REWARDS = Registry(
    "reward",
    {
        "hps-pocket": Entry(
            "pyrite.rewards.clip:load_hps", "Preference model of CLIP form, as HPSv2: cosine of image and prompt."
        ),
        "pickscore-pocket": Entry(
            "pyrite.rewards.clip:load_pickscore",
            "Preference model of CLIP form, as PickScore: scaled cosine of image and prompt; other biases than hps.",
        ),
        "aesthetic-pocket": Entry(
            "pyrite.rewards.aesthetic:load_aesthetic",
            "Aesthetic head on a CLIP image tower, as LAION's predictor; blind to the prompt.",
        ),
        "artifact-pocket": Entry(
            "pyrite.rewards.artifact:load_artifact",
            "Probability that the image has no artifact, from an image classifier; blind to the prompt.",
        ),
    },
    "pyrite.rewards",
)
