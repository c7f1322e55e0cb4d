import json
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from pyrite.cli.listing import Kind, registry_of
from pyrite.cli.main import app, exit_code
from pyrite.core.errors import CheckpointError, PyriteError, RecipeError, RunFolderError, UnknownNameError
from pyrite.core.registry import Registry


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_version_prints_the_installed_version(runner: CliRunner) -> None:
    assert runner.invoke(app, ["--version"]).stdout == f"pyrite {version('pyrite')}\n"


def test_help_names_every_verb_and_the_exit_codes(runner: CliRunner) -> None:
    told = " ".join(runner.invoke(app, ["--help"]).stdout.split())
    for command in app.registered_commands:
        assert f" {command.name} " in told
    assert "Exit codes: 0 fine, 1 an audit found something, 2 usage, 3 environment." in told


def test_list_prints_every_name_of_every_kind(runner: CliRunner) -> None:
    printed = runner.invoke(app, ["list"]).stdout
    for kind in Kind:
        for name in registry_of(kind).names():
            assert name in printed


def test_list_as_json_gives_one_object_per_line(runner: CliRunner) -> None:
    rows = [json.loads(line) for line in runner.invoke(app, ["list", "rewards", "--json"]).stdout.splitlines()]
    assert [row["name"] for row in rows] == list(registry_of(Kind.rewards).names())
    assert all(row.keys() == {"kind", "name", "summary", "package"} and row["kind"] == "reward" for row in rows)


def test_a_kind_without_members_says_so_and_prints_no_result(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrite.cli.listing.registry_of", lambda kind: Registry("benchmark", {}, "pyrite.none"))
    done = runner.invoke(app, ["list", "benchmarks"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no benchmarks are registered\n")


def test_an_unknown_kind_is_a_usage_error(runner: CliRunner) -> None:
    done = runner.invoke(app, ["list", "prizes"])
    assert done.exit_code == 2
    assert "'prizes' is not one of" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RecipeError("no such key"), 2),
        (UnknownNameError("no such name"), 2),
        (CheckpointError("not those bytes"), 3),
        (RunFolderError("cannot be written"), 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PyriteError) else str(value),
)
def test_a_wrong_request_exits_with_2_and_an_impossible_one_with_3(error: PyriteError, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_of_ours_is_shown_as_its_message_on_stderr(runner: CliRunner) -> None:
    shown = typer.Typer(cls=app.info.cls)

    @shown.callback()
    def group() -> None: ...

    @shown.command("fail")
    def fail() -> None:
        raise CheckpointError("the weights differ. Type: pyrite world build")

    done = runner.invoke(shown, ["fail"])
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "pyrite: the weights differ. Type: pyrite world build\n"
