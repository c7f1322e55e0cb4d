"""The page as a reader meets it: in Chromium, offline, on a desk and on a phone."""

import pytest
from tests.audit.browser import visit_page

CHARTS = "[...document.querySelectorAll('.chart')]"
QUESTIONS = {
    "charts": f"{CHARTS}.map(box => box.id)",
    "drawn": f"{CHARTS}.filter(box => box.querySelector('svg.main-svg .trace, svg.main-svg image')).map(box => box.id)",
    "grid_scrolls": "(box => box.scrollWidth > box.clientWidth)(document.querySelector('#images .scroll'))",
}  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_report_opens_offline_without_errors_and_fits_the_screen(full_report, width):
    seen = visit_page(full_report, QUESTIONS, width=width)
    assert len(seen.answers["charts"]) == 13
    assert seen.answers["drawn"] == seen.answers["charts"]
    assert seen.answers["images"] > 100
    # the prompts of this report carry a script: it neither ran nor became an element
    assert seen.answers["title"] == "Pocket & <world>"
    assert seen.answers["grid_scrolls"] is (width == 390)
