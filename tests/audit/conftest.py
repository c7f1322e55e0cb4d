"""One report for all tests that only read it: writing it takes a second, opening a browser three."""

import pytest
from tests.audit.synthetic_run import write_best_of_n, write_run

from pyrite.audit.report import RunInput, write_report

ATTACK = "<script>document.title='owned'</script>\"><img src=https://example.invalid/x onerror=alert(1)>"


@pytest.fixture(scope="session")
def full_report(tmp_path_factory):
    """Plain and guarded run, best-of-n, and prompts that try to break out of the page."""
    folder = tmp_path_factory.mktemp("report")
    runs = [
        RunInput(write_run(folder / "plain", prompt_suffix=f" {ATTACK}"), "plain"),
        RunInput(write_run(folder / "guarded", story="guarded", prompt_suffix=f" {ATTACK}"), "with ArtifactReward"),
    ]
    return write_report(
        runs,
        best_of_n=write_best_of_n(folder / "bon.json"),
        out=folder / "out" / "report.html",
        title="Pocket & <world>",
    )
