"""Contact sheets: many identities, six cameras, on one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from .settings import HEIGHT, WIDTH

_GAP = 2


def contact_sheet(
    root: str | os.PathLike, identities: Sequence[int], cameras: Sequence[int] = (1, 2, 3, 4, 5, 6), zoom: int = 1
) -> Image.Image:
    """One row for each identity and one column for each camera; empty where a camera did not see the person.

    Args:
        root: folder of the data set.
        identities: pids, of training or test.
        cameras: columns.
        zoom: enlargement.
    """
    root = Path(root)
    sheet = Image.new(
        "RGB", (len(cameras) * (WIDTH + _GAP) - _GAP, len(identities) * (HEIGHT + _GAP) - _GAP), (255, 255, 255)
    )
    for row, pid in enumerate(identities):
        for column, camid in enumerate(cameras):
            pattern = f"{pid:04d}_c{camid}s*.jpg"
            found = sorted([*root.glob(f"bounding_box_train/{pattern}"), *root.glob(f"bounding_box_test/{pattern}")])
            if found:
                with Image.open(found[0]) as image:
                    sheet.paste(image, (column * (WIDTH + _GAP), row * (HEIGHT + _GAP)))
    return sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.Resampling.LANCZOS) if zoom > 1 else sheet


def pair_sheet(one: Sequence[Image.Image], other: Sequence[Image.Image], zoom: int = 1) -> Image.Image:
    """Images of two people, one row each."""
    columns = max(len(one), len(other))
    sheet = Image.new("RGB", (columns * (WIDTH + _GAP) - _GAP, 2 * HEIGHT + _GAP), (255, 255, 255))
    for row, images in enumerate((one, other)):
        for column, image in enumerate(images):
            sheet.paste(image, (column * (WIDTH + _GAP), row * (HEIGHT + _GAP)))
    return sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.Resampling.LANCZOS) if zoom > 1 else sheet
