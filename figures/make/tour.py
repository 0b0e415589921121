"""README's moving picture, taken in the viewer: ``python figures/make/tour.py`` writes ``figures/tour.webp``.

A browser opens the page that ``casnkit page`` writes; a mouse walks over a right match and over a wrong one, and moves the
threshold. Each step is a screenshot, so the picture shows what a reader of the page will see.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import ExifTags, Image
from playwright.sync_api import Page, sync_playwright

from casnkit.data import open_dataset
from casnkit.inspector.desk import Desk
from casnkit.inspector.page import telling_pairs, write_page

FIGURES = Path(__file__).parents[1]
SIZE = {"width": 1000, "height": 660}
STEP, PAUSE = 260, 1400  # milliseconds that a frame is shown
TEXT = (
    "The viewer: the mouse walks down the query, and lines lead from each cell to the cells of the other picture that are "
    "most like it; then a wrong match, and the threshold moves"
)


def frames(page: Page) -> Iterator[tuple[Image.Image, int]]:
    """Screenshots, and how long each is shown."""
    names = [tile.inner_text() for tile in page.locator("[data-tile]").all()]
    wrong = next(i for i, name in enumerate(names) if "✗" in name)
    for tile in (0, wrong):
        page.locator(f"[data-tile='{tile}']").click()
        page.wait_for_timeout(300)
        yield _shot(page), PAUSE
        box = page.locator("[data-picture=query]").bounding_box()
        for row in range(8):
            page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * (0.12 + 0.11 * row))
            yield _shot(page), STEP
    page.mouse.move(5, 5)
    for value in (0.5, 0.6, 0.7, 0.8, 0.7, 0.6, 0.5):
        page.locator("[data-control=threshold]").fill(str(value))
        yield _shot(page), STEP


def _shot(page: Page) -> Image.Image:
    page.wait_for_timeout(120)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def main() -> None:
    """Take the frames, and keep them as one animated picture with its text."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        desk = Desk("gap-casn", open_dataset("people:tiny"))
        write_page(path, desk, telling_pairs(desk, 6))
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto(path.as_uri())
        page.wait_for_selector("[data-picture=query]")
        shots, times = zip(*frames(page), strict=True)
        browser.close()
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = TEXT
    look = {"save_all": True, "append_images": shots[1:], "duration": list(times), "loop": 0, "exif": exif}
    shots[0].save(FIGURES / "tour.webp", quality=55, method=6, minimize_size=True, **look)


if __name__ == "__main__":
    main()
