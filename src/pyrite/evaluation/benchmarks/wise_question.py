"""The question that WISE puts to its judge, read from where it was published.

Scores depend on it to the letter, and the repository that it stands in (PKU-YuanGroup/WISE) has no licence, so it is
not in this one: a user's copy of `gpt_eval.py` or `vllm_eval.py` is read. Read, never run: the text is taken out of the
syntax tree. A digest tells whether it is the published text.
"""

import ast
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pyrite.core.errors import PromptFileError

REPOSITORY = "https://github.com/PKU-YuanGroup/WISE"

_FIELDS = {"Prompt": "{prompt}", "Explanation": "{explanation}"}


@dataclass(frozen=True)
class JudgeQuestion:
    """What a judge is asked besides the image.

    Args:
        system: of the turn before; empty for none.
        text: of the user's turn, with {prompt} and {explanation} where those two belong.
    """

    system: str
    text: str

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of both texts."""
        return hashlib.sha256(json.dumps([self.system, self.text]).encode()).hexdigest()[:16]

    def about(self, prompt: str, explanation: str) -> str:
        """The user's turn about one prompt; nothing in either text is taken for a place to fill."""
        before, middle, after = self._parts()
        return f"{before}{prompt}{middle}{explanation}{after}"

    def _parts(self) -> tuple[str, str, str]:
        before, _, rest = self.text.partition("{prompt}")
        middle, _, after = rest.partition("{explanation}")
        return before, middle, after


def read_question(path: Path) -> JudgeQuestion:
    """The question in a Python file of the WISE repository, or in a text file of one's own.

    Args:
        path: `.py`: the dictionaries with "role" and "content" in it; anything else: the user's turn, with {prompt}
            and, after it, {explanation}.

    Raises:
        PromptFileError: it cannot be read, or holds no such question.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptFileError(f"the judge's question in {path} cannot be read: {error}. Check --question.") from error
    found = _in_python(source, path) if path.suffix == ".py" else JudgeQuestion("", source)
    if found.text.count("{prompt}") != 1 or "{explanation}" not in found.text.partition("{prompt}")[2]:
        raise PromptFileError(
            f"{path} holds no question about a prompt and its explanation, one after the other, so every image would "
            "be "
            f"judged by something else. Give gpt_eval.py or vllm_eval.py of {REPOSITORY}, or a text file with "
            "{prompt} and then {explanation} in it."
        )
    return found


def _in_python(source: str, path: Path) -> JudgeQuestion:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise PromptFileError(f"{path} is no Python file that can be read: {error}. Copy it again.") from error
    turns = dict(turn for node in ast.walk(tree) if isinstance(node, ast.Dict) and (turn := _turn(node)))
    if "user" not in turns:
        raise PromptFileError(
            f'{path} holds no dictionary with "role": "user" and a text, so what the judge is to be asked is not '
            "known. "
            f"Give gpt_eval.py or vllm_eval.py of {REPOSITORY}."
        )
    return JudgeQuestion(turns.get("system", ""), turns["user"])


def _turn(node: ast.Dict) -> tuple[str, str] | None:
    """Role and text of a dictionary that is a turn of a conversation."""
    items = {
        key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)
    }
    role = items.get("role")
    if not isinstance(role, ast.Constant) or "content" not in items:
        return None
    texts = [text for inner in ast.walk(items["content"]) if isinstance(inner, ast.Dict) and (text := _text(inner))]
    return (str(role.value), texts[0]) if len(texts) == 1 else None


def _text(node: ast.Dict) -> str:
    """What stands under "text", with the published fields as {prompt} and {explanation}."""
    for key, value in zip(node.keys, node.values, strict=True):
        if not isinstance(key, ast.Constant) or key.value != "text":
            continue
        if isinstance(value, ast.Constant):
            return str(value.value)
        if isinstance(value, ast.JoinedStr):
            return "".join(_piece(piece) for piece in value.values)
    return ""


def _piece(piece: ast.expr) -> str:
    if isinstance(piece, ast.Constant):
        return str(piece.value)
    names = [str(inner.value) for inner in ast.walk(piece) if isinstance(inner, ast.Constant)]
    return next((_FIELDS[name] for name in names if name in _FIELDS), "")
