"""The folder of a search: whose it is, and every file in it.

OUT/
config.yaml       every number, and which set it is
environment.json  machine and versions
answers.jsonl     what the judge said, chunk by chunk: the ledger a continued run reads back
replies.jsonl     what the rewriting model said: the other ledger
rounds.jsonl      the numbers of each round
questions.jsonl   every question: its parent, the critique, its scores, images it got wrong
images/           those images, small
question.txt      the chosen question
results.json      the proof on the test images; its presence says that the run is finished
lineage.html      all of it as a page
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from pyrite.artifact.data import Example
from pyrite.artifact.optimise.config import OptimiseConfig
from pyrite.core.errors import RunFolderError
from pyrite.records.config import config_differences
from pyrite.records.environment import describe_environment
from pyrite.records.jsonl import teaching_os_errors, write_atomically, write_json
from pyrite.records.recipe_file import parse_yaml, to_yaml
from pyrite.records.sole_use import hold_folder
from pyrite.records.stored import file_key

CONFIG, RESULTS, QUESTION = "config.yaml", "results.json", "question.txt"
ANSWERS, REPLIES, ROUNDS, QUESTIONS, IMAGES = (
    "answers.jsonl", "replies.jsonl", "rounds.jsonl", "questions.jsonl", "images"
)  # fmt: skip

# Neither changes a number: how patiently servers are asked, and where they keep what they said.
_FREE = ("concurrency", "timeout_s", "deadline_s", "retries", "backoff_s", "audit", "api_key_env", "max_failure_rate")


def claim(path: Path, config: OptimiseConfig, examples: Sequence[Example], stack: ExitStack) -> None:
    """Make the folder that of this search, or see that it is, and hold it until the stack closes.

    Raises:
        RunFolderError: it cannot be written, is in use, was made with another config or set, or holds something else.
    """
    with teaching_os_errors(f"make the folder {path}"):
        path.mkdir(parents=True, exist_ok=True)
    hold_folder(path, stack, "two searches in one folder would mix their answers")
    mapping = {**config.model_dump(mode="json"), "set_sha256": fingerprint(examples)}
    file = path / CONFIG
    if file.exists():
        _refuse_another(path, mapping)
        return
    foreign = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    if set(foreign) - {"environment.json"}:
        raise RunFolderError(
            f"{path} is not empty ({', '.join(foreign[:5])}) and holds no search for a question, which would overwrite "
            "what is there. Choose another folder."
        )
    write_json(path / "environment.json", describe_environment({}))
    write_atomically(file, to_yaml(mapping))


def fingerprint(examples: Sequence[Example]) -> str:
    """A hash of the ids, labels, pairs, kinds and image files of a set, whatever the order and wherever they lie.

    Raises:
        RunFolderError: an image cannot be read.
    """
    with teaching_os_errors("read the images of the set"):
        rows = sorted(
            repr([one.id, one.has_artifact, one.pair_id, one.kind, file_key(one.image.read_bytes())])
            for one in examples
        )
    return hashlib.sha256("\n".join(rows).encode(errors="surrogatepass")).hexdigest()


def _refuse_another(path: Path, mapping: Mapping[str, Any]) -> None:
    try:
        made_with, _ = parse_yaml((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunFolderError(
            f"{path / CONFIG} cannot be read ({error}). Restore it, or choose another folder."
        ) from error
    if not isinstance(made_with, dict):
        raise RunFolderError(f"{path / CONFIG} holds no config. Restore it, or choose another folder.")
    if different := config_differences(_what_counts(made_with), _what_counts(mapping)):
        raise RunFolderError(
            f"{path} was made with another config or set, and one folder holds one search:"
            + "".join(f"\n  - {line}" for line in different)
            + "\nChoose another folder, or give the config it was made with."
        )


def _what_counts(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what may change between two lives of a run."""
    kept = dict(mapping)
    for section in ("judge", "rewriter"):
        part = dict(kept.get(section) or {})
        options = part.get("options") or {}
        part["options"] = {key: value for key, value in options.items() if key not in _FREE}
        kept[section] = part
    return kept
