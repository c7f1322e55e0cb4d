"""The page as a reader meets it: in Chromium, offline, on a desk and on a phone."""

import pytest
from tests.audit.browser import visit

CHARTS = "[...document.querySelectorAll('.chart')]"
QUESTIONS = {
    "charts": f"{CHARTS}.map(box => box.id)",
    "drawn": f"{CHARTS}.filter(box => box.querySelector('svg.main-svg .trace, svg.main-svg image')).map(box => box.id)",
    "images": "document.images.length",
    "broken": "[...document.images].filter(image => image.naturalWidth === 0).length",
    "page_width": "document.documentElement.scrollWidth",
    "title": "document.title",
    "scripts": "[...document.scripts].filter(script => script.type !== 'application/json').length",
    "grid_scrolls": "(box => box.scrollWidth > box.clientWidth)(document.querySelector('#images .scroll'))",
}  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_report_opens_offline_without_errors_and_fits_the_screen(full_report, width):
    seen = visit(full_report, QUESTIONS, width=width)
    assert seen.errors == []
    assert seen.requests == [full_report.resolve().as_uri()]
    assert len(seen.answers["charts"]) == 13
    assert seen.answers["drawn"] == seen.answers["charts"]
    assert seen.answers["images"] > 100
    assert seen.answers["broken"] == 0
    assert seen.answers["page_width"] == width
    # the prompts of this report carry a script: it neither ran nor became an element
    assert seen.answers["title"] == "Pocket & <world>"
    assert seen.answers["scripts"] == 2
    assert seen.answers["grid_scrolls"] is (width == 390)
