import pyrite


def test_all_is_sorted() -> None:
    assert pyrite.__all__ == sorted(pyrite.__all__)


def test_all_names_everything_public_and_nothing_else() -> None:
    reachable = set(pyrite._HOMES) | {name for name in vars(pyrite) if name.startswith(("load_", "list_"))}
    assert set(pyrite.__all__) == reachable | {"__version__"}
    assert dir(pyrite) == pyrite.__all__


def test_every_public_name_resolves_and_says_what_it_is() -> None:
    for name in pyrite.__all__:
        value = getattr(pyrite, name)
        assert name == "__version__" or value.__doc__


def test_an_absent_name_is_an_attribute_error() -> None:
    assert not hasattr(pyrite, "Reward2")
