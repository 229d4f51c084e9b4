"""The pages in a real browser, without a network: everything plays, shows and fits.

The browser is Debian's chromium; .ci/run installs it. Elsewhere the tests are skipped where there is none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PLAYED = "async videos => { for (const v of videos) await v.play(); }"
ALL_PLAY = "() => [...document.querySelectorAll('video')].every(v => v.currentTime > 0 && v.videoWidth > 0)"
PICTURES = "images => images.map(image => image.naturalWidth)"
TOO_WIDE = "() => document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a browser that has no network. Anything that the console says is an error."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        assert "CI" not in os.environ, "no browser: .ci/run has to install chromium"
        pytest.skip("needs chromium, for example `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        yield context.new_page()
        browser.close()


@pytest.mark.parametrize("name", ["index.html", "experiments/perturbed.html"])
def test_everything_plays_shows_and_fits_and_nothing_is_fetched(page: Page, written: Path, name: str) -> None:
    fetched, said = [], []
    page.on("request", lambda request: fetched.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((written / name).as_uri())
    assert page.locator("video").count() >= 2
    page.locator("video").evaluate_all(PLAYED)
    page.wait_for_function(ALL_PLAY, timeout=10_000)
    assert all(width > 0 for width in page.locator("img").evaluate_all(PICTURES))
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert not page.evaluate(TOO_WIDE), f"{width} pixels wide"
    assert [url for url in fetched if not url.startswith("data:")] == [(written / name).as_uri()]
    assert said == []


def test_a_stranger_finds_the_four_answers_without_scrolling_and_the_way_to_the_experiment(
    page: Page, written: Path
) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto((written / "index.html").as_uri())
    box = page.locator(".verdict").first.bounding_box()
    assert box["y"] + box["height"] < 400
    said = page.locator(".verdict").first.inner_text()
    for answer in ("perturbed", "1.5 [1.097, 1.903] lower", "test split of builtin", "commit abc123"):
        assert answer in said
    page.get_by_role("link", name="perturbed", exact=True).first.click()
    assert page.url == (written / "experiments/perturbed.html").as_uri()
    page.get_by_role("link", name="LVDM leaderboard").click()
    assert page.url == (written / "index.html").as_uri()
