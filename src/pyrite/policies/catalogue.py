"""The policies by name; strings only, so that listing them imports no torch."""

from pyrite.core.registry import Entry, Registry

POLICIES = Registry(
    "policy",
    {
        "janus-pocket": Entry(
            "pyrite.policies.janus:load_janus",
            "A tiny Janus of the pocket world: prompt, plan, then 64 image tokens; draws 64x64 scenes on a CPU.",
        ),
        "janus-pro-1b": Entry(
            "pyrite.policies.janus_published:load_janus_pro_1b",
            "Janus-Pro-1B: 576 image tokens for 384x384 pixels; 2.1 B parameters, a GPU, weights to be fetched.",
        ),
        "janus-pro-7b": Entry(
            "pyrite.policies.janus_published:load_janus_pro_7b",
            "Janus-Pro-7B: the same at 7.4 B parameters.",
        ),
    },
    "pyrite.policies",
)
