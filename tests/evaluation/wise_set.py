"""A WISE of our own: the official ids, categories and file forms, with prompts, question and images made here."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from PIL import Image as PILImage
from tests.judge_server import Body, chat, parts_of

from pyrite.evaluation.benchmarks.wise_protocols import LEGACY, VERIFIED

PROTOCOLS = {"wise": LEGACY, "wise-verified": VERIFIED}

_QUESTION = '''
def build_evaluation_messages(prompt_data, image_base64):
    return [
        {"role": "system", "content": [{"type": "text", "text": "You look at pictures."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"""How well does it fit?
PROMPT: "{prompt_data['Prompt']}"
EXPLANATION: "{prompt_data['Explanation']}"
Say it."""},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image_base64}"}},
            ],
        },
    ]


raise SystemExit("this file is read and never run")
'''


def prompt_of(number: int) -> str:
    """The prompt under an id."""
    return f"scene {number} of a long walk by the river"


def write_source(folder: Path, name: str, ids: Iterable[int] = range(1, 1001), *, as_lines: bool = False) -> Path:
    """The three prompt files and the file with the question, like a copy of the WISE repository's."""
    protocol = PROTOCOLS[name]
    parts: dict[str, list[Mapping[str, object]]] = {}
    for number in ids:
        category = protocol.category_of(number)
        assert category is not None
        called = {"cultural knowledge": "Cultural knowledge", "physical knowledge": "Physical Knowledge"}
        parts.setdefault(category.part, []).append({
            "Prompt": prompt_of(number),
            "Explanation": f"It means {number}.",
            "Category": called.get(category.called, category.called.capitalize()),
            "Subcategory": "Walks",
            "prompt_id": number,
        })  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{part}{protocol.suffix}.json").write_text(lines if as_lines else json.dumps(rows))
    (folder / protocol.question_file).write_text(_QUESTION)
    return folder


def write_images(folder: Path, ids: Iterable[int] = range(1, 1001), pattern: str = "{id}.png") -> Path:
    """An image per id, each of other pixels."""
    for number in ids:
        path = folder / pattern.format(id=number, prompt=prompt_of(number).replace(" ", "_"))
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(path)
    return folder


def number_in(body: Body) -> int:
    """Which prompt a request asks about."""
    found = re.search(r'PROMPT: "scene (\d+) ', parts_of(body)[0])
    assert found is not None
    return int(found[1])


def three_marks(consistency: object, realism: object, aesthetic: object) -> str:
    """A reply in the form that the paper's protocol asks for."""
    return f"Consistency: {consistency}\nRealism: {realism}\nAesthetic Quality: {aesthetic}"


def known_marks(number: int) -> tuple[int, int, int]:
    """What the judge of the tests gives in the paper's protocol."""
    return number % 3, 2 if number <= 500 else 0, 1


def known_score(number: int) -> int:
    """What it gives in the verified protocol."""
    return int(number % 4 == 0 or number > 880)


def judging(name: str) -> Callable[[Body], Body]:
    """A judge that gives the known answers."""
    if name == "wise":
        return lambda body: chat(three_marks(*known_marks(number_in(body))))
    return lambda body: chat(f"Score: {known_score(number_in(body))}")
