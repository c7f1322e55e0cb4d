"""Commands that only talk about Pyrite start without what only running it needs."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "accelerate", "plotly", "pandas", "scipy", "jinja2"}

REPORT_MODULES = """
import json, sys
try:
    {statement}
except SystemExit as end:
    assert not end.code, end.code
sys.stderr.write("MODULES" + json.dumps(sorted(sys.modules)))
"""


def modules_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT_MODULES.format(statement=statement)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.rpartition("MODULES")[2]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["list", "--json"]], ids=" ".join)
def test_a_command_that_only_tells_loads_nothing_heavy(arguments: list[str]) -> None:
    """Pydantic is not among the heavy here: typer itself reads the arguments of a command through it."""
    loaded = modules_after(f"from pyrite.cli.main import app; app({arguments!r})")
    assert not loaded & HEAVY


def test_importing_pyrite_loads_neither_torch_nor_numpy() -> None:
    assert not modules_after("import pyrite") & {*HEAVY, "numpy", "PIL", "pydantic"}


def test_the_public_names_load_no_torch() -> None:
    assert not modules_after("from pyrite import *") & HEAVY


@pytest.mark.parametrize("package", ["core", "records", "stats", "mitigation", "audit"])
def test_a_foundation_runs_without_torch(package: str) -> None:
    """The import contract sees our own imports; this also sees what the libraries below bring in."""
    walk = (
        f"import importlib, pkgutil, pyrite.{package} as room; "
        "[importlib.import_module(module.name) for module in pkgutil.walk_packages(room.__path__, room.__name__ + '.')]"
    )
    assert not modules_after(walk) & {"torch", "transformers"}


def test_what_deepspeed_logs_when_a_model_is_saved_does_not_stand_among_results() -> None:
    """It is imported by accelerate for every model that is saved, and warns of a machine without a GPU."""
    from tests.tiny_checkpoints import write_janus

    saving = f"import sys; sys.path.insert(0, '.'); from {write_janus.__module__} import write_janus; import pyrite"
    saving += "; from pathlib import Path; import tempfile; write_janus(Path(tempfile.mkdtemp())); import deepspeed"
    saving += "; deepspeed.utils.logger.warning('a warning'); deepspeed.utils.logger.error('an error'); print('result')"
    done = subprocess.run([sys.executable, "-c", saving], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    assert "an error" in done.stderr
    assert "a warning" not in done.stderr
