import pytest

from pyrite.cli.listing import Kind, registry_of


@pytest.mark.parametrize("kind", list(Kind))
def test_every_entry_points_to_something_that_can_be_called(kind: Kind) -> None:
    registry = registry_of(kind)
    for name in registry.names():
        assert callable(registry.load(name)), name


@pytest.mark.parametrize("kind", list(Kind))
def test_every_entry_says_in_a_sentence_what_it_is(kind: Kind) -> None:
    for name, entry in registry_of(kind).entries().items():
        assert entry.summary, name
        assert "\n" not in entry.summary, name


@pytest.mark.parametrize("kind", list(Kind))
def test_the_command_a_registry_recommends_lists_it(kind: Kind) -> None:
    assert registry_of(kind).list_command == f"pyrite list {kind}"
