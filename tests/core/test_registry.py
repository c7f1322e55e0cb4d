import sys
from pathlib import Path

import pytest

from pyrite.core.errors import MissingExtraError, PyriteError, RegistryError, UnknownNameError
from pyrite.core.registry import Entry, Registry

GROUP = "pyrite.testing_rewards"


def plug_in(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, announcement: str) -> None:
    """Install a package that announces one entry point, the way pip would leave it on disk."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{announcement}\n")
    monkeypatch.syspath_prepend(str(folder))


def registry(**targets: str) -> Registry:
    return Registry("reward", {name: Entry(target, f"what {name} is") for name, target in targets.items()}, GROUP)


def test_names_are_sorted() -> None:
    assert registry(pickscore="json:loads", artifact="json:dumps").names() == ("artifact", "pickscore")


def test_listing_imports_no_target() -> None:
    members = registry(heavy="antigravity:geohash")
    assert members.entries()["heavy"].summary == "what heavy is"
    assert "antigravity" not in sys.modules


def test_load_returns_the_object_itself() -> None:
    import json

    assert registry(decoder="json:loads").load("decoder") is json.loads


def test_load_follows_a_dotted_attribute() -> None:
    import json

    assert registry(decoder="json:JSONDecoder.decode").load("decoder") is json.JSONDecoder.decode


def test_an_unknown_name_is_answered_with_near_names_and_the_command_that_lists_all() -> None:
    members = registry(**{"pickscore-pocket": "json:loads", "aesthetic-pocket": "json:loads"})
    message = (
        r"no reward is called 'pikscore-pocket'. Did you mean 'pickscore-pocket'.*\? See them all: pyrite list rewards"
    )
    with pytest.raises(UnknownNameError, match=message):
        members.load("pikscore-pocket")


def test_a_name_near_to_nothing_gets_no_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"no reward is called 'zzz'. See them all: pyrite list rewards$"):
        registry(pickscore="json:loads").load("zzz")


def test_the_list_command_knows_the_plural() -> None:
    assert Registry("policy", {}, GROUP).list_command == "pyrite list policies"


def test_a_target_without_an_object_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"a target is written 'module:object', got 'json\.loads'"):
        Entry("json.loads")


def test_a_target_whose_module_does_not_exist_says_so() -> None:
    with pytest.raises(RegistryError, match=r"points to 'json.nowhere:f', but there is no module 'json.nowhere'"):
        registry(lost="json.nowhere:f").load("lost")


def test_a_target_whose_object_does_not_exist_says_so() -> None:
    with pytest.raises(RegistryError, match="points to 'json:nothing', but json has no 'nothing'"):
        registry(lost="json:nothing").load("lost")


def test_a_member_that_needs_an_absent_package_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "member_with_needs.py").write_text("import absent_package.part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    message = "reward 'needy' needs 'absent_package', which is not installed. Type: pip install absent_package"
    with pytest.raises(MissingExtraError, match=message):
        registry(needy="member_with_needs:f").load("needy")


def test_a_package_that_lacks_a_part_of_itself_keeps_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torn_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "member.py").write_text("import torn_package.lost\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'torn_package\.lost'"):
        registry(torn="torn_package.member:f").load("torn")


def test_register_adds_a_member_for_this_process() -> None:
    members = registry()
    members.register("mine", Entry("json:loads"))
    assert members.names() == ("mine",)


def test_registering_a_taken_name_is_refused_with_both_targets() -> None:
    members = registry(pickscore="json:loads")
    with pytest.raises(RegistryError, match="two rewards are called 'pickscore': 'json:loads' and 'json:dumps'"):
        members.register("pickscore", Entry("json:dumps"))
    assert members.entry("pickscore").target == "json:loads"


def test_a_plug_from_another_package_loads_like_a_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, monkeypatch, "stranger", "brightness = json:loads")
    members = registry(pickscore="json:dumps")
    assert members.names() == ("brightness", "pickscore")
    assert members.entry("brightness") == Entry("json:loads", "from the package stranger", "stranger")
    assert callable(members.load("brightness"))


def test_a_plug_that_takes_a_built_in_name_is_refused_by_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(tmp_path, monkeypatch, "stranger", "pickscore = json:loads")
    message = r"two rewards are called 'pickscore': 'json:dumps' and 'json:loads' \(package stranger\)"
    with pytest.raises(RegistryError, match=message):
        registry(pickscore="json:dumps").names()


def test_two_plugs_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, monkeypatch, "stranger", "brightness = json:loads")
    plug_in(tmp_path, monkeypatch, "another", "brightness = json:dumps")
    with pytest.raises(RegistryError, match=r"two rewards are called 'brightness'.*uninstall the package"):
        registry().names()


def test_a_plug_without_an_object_is_refused_by_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, monkeypatch, "stranger", "brightness = json")
    with pytest.raises(RegistryError, match=r"got 'json:' \(package stranger\)"):
        registry().names()


def test_a_registry_error_is_ours_and_a_value_error() -> None:
    assert issubclass(RegistryError, PyriteError)
    assert issubclass(RegistryError, ValueError)
