"""The server is asked what its own description allows, and much that it does not, over a real socket."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi import checks
from tests.serving.faults import Brightness

from pyrite.rewards.diagnostics import load_saturation
from pyrite.serving.app import create_app
from pyrite.serving.background import in_background
from pyrite.serving.limits import Limits

TOKEN = "correct-horse-battery-staple"
# What the schema cannot say makes valid data be refused: which rewards there are, and that the text part of a form is
# JSON in turn. Those are in test_app.py, each with its status.
EXCLUDED = [checks.positive_data_acceptance]
BOUNDED = settings(
    max_examples=60,
    deadline=None,  # the machine is shared
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


APP = create_app(
    {"brightness": Brightness(), "saturation": load_saturation()}, limits=Limits(max_wait_s=0.0), token=TOKEN
)
SCHEMA = schemathesis.openapi.from_dict(APP.openapi())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_background(APP) as url:
        yield url


@SCHEMA.parametrize()
@BOUNDED
def test_no_request_makes_the_server_fail_or_answer_as_it_does_not_say(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(url, headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=EXCLUDED)


def test_the_description_names_every_endpoint() -> None:
    assert set(APP.openapi()["paths"]) == {"/score", "/rewards", "/health", "/metrics"}
