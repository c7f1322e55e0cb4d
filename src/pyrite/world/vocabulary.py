"""The words of the pocket world and the layout plan that its policy writes before it draws.

The plan is the tiny form of T2I-R1's semantic plan (arXiv 2505.00703): four slots of (colour, shape, size, x, y), the
unused ones filled with `<none>`. It is sampled, so reinforcement learning trains it together with the image tokens.
"""

import re
from typing import TYPE_CHECKING

from pyrite.world.prompts import LOCALITIES, NUMBER_WORDS, PLURALS
from pyrite.world.scenes import COLOURS, MAX_OBJECTS, SHAPES, Scene

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROMPT_TOKENS = 12
PLAN_TOKENS = 5 * MAX_OBJECTS
BIN_PX = 2.0
FIRST_BIN_PX = 9.0
NUM_BINS = 23
BIG_RADIUS = 9.5
NOTHING = "<none>"

PROMPT_WORDS = tuple(
    dict.fromkeys(
        [
            *("a", "an", "photo", "of", "and"),
            *" ".join(LOCALITIES).split(),
            *NUMBER_WORDS.values(),
            *COLOURS,
            *SHAPES,
            *PLURALS.values(),
        ]
    )
)
_MARKUP = re.compile(r"<\|\w+\|>")
PLAN_WORDS = ("small", "big", *(f"x{i}" for i in range(NUM_BINS)), *(f"y{i}" for i in range(NUM_BINS)))


def plan_words(scene: Scene) -> list[str]:
    """The 20 words that lay a scene out, object by object."""
    words: list[str] = []
    for item in scene.objects:
        size = "big" if item.radius > BIG_RADIUS else "small"
        words += [item.colour, item.shape, size, f"x{_bin(item.x)}", f"y{_bin(item.y)}"]
    return words + [NOTHING] * (PLAN_TOKENS - len(words))


def _bin(position: float) -> int:
    return min(max(round((position - FIRST_BIN_PX) / BIN_PX), 0), NUM_BINS - 1)


def policy_tokenizer() -> "PreTrainedTokenizerFast":
    """Word-level tokenizer of the policy: special tokens, prompt words, plan words."""
    special = ["<pad>", "<bos>", "<boi>", "<plan>", NOTHING]
    return _word_tokenizer(
        [*special, *PROMPT_WORDS, *PLAN_WORDS],
        pad_token="<pad>",
        bos_token="<bos>",
        additional_special_tokens=["<boi>", "<plan>", NOTHING],
    )


def clip_tokenizer() -> "PreTrainedTokenizerFast":
    """Word-level tokenizer of the pocket CLIP models; wraps a text as CLIP does: start, words, end."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = _word_tokenizer(
        ["<pad>", "<bos>", "<unk>", "<eos>", *PROMPT_WORDS],
        pad_token="<pad>",
        bos_token="<bos>",
        unk_token="<unk>",
        eos_token="<eos>",
        model_max_length=PROMPT_TOKENS + 2,
    )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 3)]
    )
    return tokenizer


def judge_tokenizer(*texts: str) -> "PreTrainedTokenizerFast":
    """Word-level tokenizer of the pocket judge, which also knows every word, mark and "<|token|>" of these texts."""
    from tokenizers.pre_tokenizers import Whitespace

    markup = list(dict.fromkeys(token for text in texts for token in _MARKUP.findall(text)))
    plain = " ".join(_MARKUP.sub(" ", text).replace("{prompt}", " ") for text in texts)
    known = [word.lower() for word, _ in Whitespace().pre_tokenize_str(plain)]
    words = ["<pad>", "<unk>", *markup, *dict.fromkeys([*known, "yes", "no", *PROMPT_WORDS])]
    tokenizer = _word_tokenizer(words, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=markup)
    tokenizer.backend_tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def _word_tokenizer(words: list[str], **options: object) -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(words)}
    model = WordLevel(vocabulary, str(options["unk_token"])) if "unk_token" in options else WordLevel(vocabulary)
    backend = Tokenizer(model)
    backend.normalizer = Lowercase()
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)
