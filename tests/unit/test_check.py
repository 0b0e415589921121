"""``casnkit data check``: damaged files made by hand, and expected counts against totals that the papers print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from casnkit.data import check as module
from casnkit.data.check import EXPECTED, check
from casnkit.data.files import write_json
from casnkit.data.imitate import imitate

PETS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pets-small"


@pytest.mark.parametrize(
    ("name", "images", "identities"),
    [
        ("market1501", 32668, 1501),
        ("dukemtmc-reid", 36411, 1404),
        ("cuhk03-np-detected", 14097, 1467),
        ("cuhk03-np-labeled", 14096, 1467),
        ("msmt17", 126441, 4101),
    ],
)
def test_expected_counts_add_up_to_the_published_totals(name: str, images: int, identities: int) -> None:
    counts = EXPECTED[name]
    boxes = counts["train images"] + counts["gallery images"]
    # Market-1501's 32,668 boxes are without its hand-drawn queries; the other sets count everything
    assert boxes + (0 if name == "market1501" else counts["query images"]) == images
    assert counts["train identities"] + counts["query identities"] == identities


def test_market_gallery_without_junk() -> None:
    counts = EXPECTED["market1501"]
    assert counts["gallery images"] - counts["gallery junk"] == module.MARKET_WITHOUT_JUNK
    assert module.MARKET_WITHOUT_JUNK - counts["gallery distractors"] == 13115


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An imitation whose counts are the expected ones."""
    counts = module._expected((16, 4), (6, 3), 14, 2, gallery_distractors=4, gallery_junk=4)
    monkeypatch.setitem(EXPECTED, "market1501", counts)
    return imitate("market1501", tmp_path)


def test_sound_set(market: Path) -> None:
    report = check(market)
    assert report.ok
    assert report.rows[0] == ("train images", 16, 16)
    assert (report.unreadable, report.converted, report.advice) == ((), {}, ())
    assert report.to_text().splitlines()[-1].strip() == "all is well"


def test_every_bad_file_is_named_at_once(market: Path) -> None:
    train = sorted((market / "bounding_box_train").iterdir())
    whole = train[0].read_bytes()
    train[0].write_bytes(whole[: len(whole) // 2])
    train[1].write_bytes(b"")
    train[2].write_text("<html>please log in</html>")
    query = sorted((market / "query").iterdir())[3]
    query.write_bytes(b"\xff\xd8\xff")
    report = check(market, threads=2)
    assert not report.ok
    assert [path for path, _ in report.unreadable] == [str(p) for p in (*train[:3], query)]
    assert [why for _, why in report.unreadable][1:] == ["empty file (zero bytes)", "not an image", "not an image"]
    assert "truncated" in report.unreadable[0][1].lower()
    text = report.to_text()
    assert all(str(p) in text for p in (*train[:3], query))
    assert "restore the 4 files" in text


def test_conversions_are_counted(market: Path) -> None:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8))
    stored = {
        "CMYK": rgb.convert("CMYK"),
        "grey": rgb.convert("L"),
        "16-bit": Image.fromarray(rng.integers(0, 65535, (64, 32), dtype=np.uint16)),
        "alpha": rgb.convert("RGBA"),
        "palette": rgb.convert("P"),
    }
    train = sorted((market / "bounding_box_train").iterdir())
    for path, (kind, image) in zip(train, stored.items(), strict=False):
        image.save(path, format="JPEG" if kind == "CMYK" else "PNG")
    report = check(market)
    assert report.ok
    assert report.converted == dict.fromkeys(stored, 1)


def test_missing_images_are_counted(market: Path) -> None:
    sorted((market / "bounding_box_test").iterdir())[-1].unlink()
    report = check(market)
    assert report.wrong == (("gallery images", 13, 14),)
    assert not report.ok
    assert "images are missing" in report.advice[0]
    assert "<- differs" in report.to_text()


def test_gallery_without_its_junk_is_in_order(market: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (market / "bounding_box_test").glob("-1_*"):
        path.unlink()
    monkeypatch.setattr(module, "MARKET_WITHOUT_JUNK", 10)
    report = check(market)
    assert report.ok
    assert ("gallery images", 10, 10) in report.rows
    assert any("without its" in note for note in report.notes)


def test_a_set_of_another_size_is_ones_own_unless_it_is_named(tmp_path: Path) -> None:
    imitate("market1501", tmp_path)
    own, named = check(tmp_path), check(tmp_path, "market1501")
    assert own.ok
    assert all(expected is None for _, _, expected in own.rows)
    assert not named.ok
    assert ("train images", 16, 12936) in named.wrong


def test_masks_must_fit(tmp_path: Path) -> None:
    imitate("market1501", tmp_path, extras=True)
    assert ("masks", 36, 36) in check(tmp_path).rows
    first, second = sorted((tmp_path / "masks").iterdir())[-2:]
    Image.new("L", (64, 32)).save(first)  # width and height exchanged
    second.unlink()
    report = check(tmp_path)
    assert ("masks", 35, 36) in report.rows
    assert len(report.unreadable) == 1
    assert "its mask is (64, 32), the image (32, 64)" in report.unreadable[0][1]
    assert Path(report.unreadable[0][0]).stem == first.stem
    assert any("no mask" in advice for advice in report.advice)


def test_people_are_compared_with_what_their_generator_noted(tmp_path: Path) -> None:
    imitate("market1501", tmp_path)
    counts = {"bounding_box_train": 16, "query": 6, "bounding_box_test": 15}
    write_json(tmp_path / "people.json", {"size": "tiny", "counts": counts, "cameras": 2})
    report = check(tmp_path)
    assert report.name == "people"
    assert ("cameras", 2, 2) in report.rows
    assert report.wrong == (("gallery images", 14, 15),)


def test_check_generates_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a folder"):
        check(tmp_path / "people", "people")
    assert not (tmp_path / "people").exists()


def test_pets_small() -> None:
    if not PETS.is_dir():
        pytest.skip(f"real data not found at {PETS}")
    report = check(PETS)
    assert report.ok
    assert ("masks", 539, 539) in report.rows
