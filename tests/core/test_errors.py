import inspect

import pytest

from pyrite.core import errors
from pyrite.core.errors import PyriteError, UnknownNameError

CLASSES = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls)}


def test_the_drawn_tree_names_every_error_and_what_else_it_is() -> None:
    drawn = errors.__doc__ or ""
    for name, cls in CLASSES.items():
        builtins = [base.__name__ for base in cls.__bases__ if not issubclass(base, PyriteError)]
        label = f"{name}({builtins[0]})" if builtins and cls is not PyriteError else name
        assert label in drawn


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_catching_the_root_catches_every_error(name: str) -> None:
    assert issubclass(CLASSES[name], PyriteError)


def test_an_unknown_name_is_shown_as_a_sentence_and_not_in_quotes() -> None:
    assert str(UnknownNameError("no reward is called 'x'")) == "no reward is called 'x'"
    assert str(UnknownNameError()) == ""
