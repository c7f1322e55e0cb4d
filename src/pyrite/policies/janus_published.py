"""The published Janus-Pro by name: where their folders lie on this disk, if they do. Nothing is downloaded here."""

import functools
from pathlib import Path
from typing import Any

from pyrite.core.errors import CheckpointError
from pyrite.policies.janus import JanusPolicy, load_janus
from pyrite.records.published import weights_root


def find_published(name: str, repository: str) -> Path:
    """The folder of a published policy: `weights_root() / name`, or a complete one in the Hugging Face cache.

    Raises:
        CheckpointError: it is in neither; says what to type.
    """
    from huggingface_hub import try_to_load_from_cache

    here = weights_root() / name
    if (here / "config.json").is_file():
        return here
    cached = [try_to_load_from_cache(repository, file) for file in ("config.json", "tokenizer.json")]
    if all(isinstance(path, str) for path in cached):
        return Path(str(cached[0])).parent
    raise CheckpointError(
        f"the policy '{name}' is not on this disk: neither in {here} nor, as {repository}, in the Hugging Face cache. "
        f"Nothing is downloaded unless you ask for it. Type: hf download {repository} --local-dir {here}. A copy in "
        f"the format of DeepSeek's own code is written there by: pyrite weights convert janus --weights FOLDER --out "
        f"{here}"
    )


@functools.wraps(load_janus)
def load_janus_pro_1b(**options: Any) -> JanusPolicy:
    """Load deepseek-community/Janus-Pro-1B; the options are those of `load_janus`."""
    return load_janus(find_published("janus-pro-1b", "deepseek-community/Janus-Pro-1B"), **options)


@functools.wraps(load_janus)
def load_janus_pro_7b(**options: Any) -> JanusPolicy:
    """Load deepseek-community/Janus-Pro-7B; the options are those of `load_janus`."""
    return load_janus(find_published("janus-pro-7b", "deepseek-community/Janus-Pro-7B"), **options)
