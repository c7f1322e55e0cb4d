"""The page as a reader meets it: in Chromium, offline, on a desk and on a phone."""

import pytest
from tests.audit.browser import visit_page

CHARTS = "[...document.querySelectorAll('.chart')]"
QUESTIONS = {
    "charts": f"{CHARTS}.map(box => box.id)",
    "drawn": f"{CHARTS}.filter(box => box.querySelector('svg.main-svg .trace, svg.main-svg image, .bars .point'))"
    ".map(box => box.id)",
    "map_fits": "(box => box.scrollWidth >= box.clientWidth)(document.querySelector('#map .scroll'))",
}  # fmt: skip


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_the_page_opens_offline_without_errors_and_fits_the_screen(pair_page, width) -> None:
    seen = visit_page(pair_page, QUESTIONS, width=width)
    assert len(seen.answers["charts"]) == 1 + 4 + 5 + 1
    assert seen.answers["drawn"] == seen.answers["charts"]
    assert seen.answers["images"] == 2 * 6 - 2  # one picture lies outside the folder, and two examples are of it
    assert seen.answers["title"].startswith("Pairs <script>")
