"""The policies by name; strings only, so that listing them imports no torch."""

from pyrite.core.registry import Entry, Registry

POLICIES = Registry(
    "policy",
    {
        "janus-pocket": Entry(
            "pyrite.policies.janus:load_janus",
            "A tiny Janus of the pocket world: prompt, plan, then 64 image tokens; draws 64x64 scenes on a CPU.",
        ),
    },
    "pyrite.policies",
)
