"""``casnkit data check``: damaged files made by hand, and expected counts against totals that the papers print."""

from pathlib import Path

import numpy as np
import pytest
from imitations import imitate
from PIL import Image

from casnkit.data import open_dataset
from casnkit.data.check import EXPECTED, CheckReport, check, not_whole
from casnkit.data.files import write_json

PETS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pets-small"


def wrong(report: CheckReport) -> dict[str, list[int]]:
    return {what: row.tolist() for what, row in report.wrong.iterrows()}


PUBLISHED = [("market1501", 32668, 1501), ("dukemtmc-reid", 36411, 1404), ("msmt17", 126441, 4101)]
PUBLISHED += [("cuhk03-np-detected", 14097, 1467), ("cuhk03-np-labeled", 14096, 1467)]


@pytest.mark.parametrize(("name", "images", "identities"), PUBLISHED)
def test_expected_counts_add_up_to_the_published_totals(name: str, images: int, identities: int) -> None:
    counts = EXPECTED[name]
    boxes = counts["train images"] + counts["gallery images"]
    # Market-1501's 32,668 boxes are without its hand-drawn queries; the other sets count everything
    assert boxes + (0 if name == "market1501" else counts["query images"]) == images
    assert counts["train identities"] + counts["query identities"] == identities
    if name == "market1501":
        assert counts["gallery images"] - counts["gallery junk"] == 15913 == 13115 + counts["gallery distractors"]


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An imitation whose counts are the expected ones."""
    counts = dict(zip(EXPECTED["market1501"], (16, 4, 6, 3, 14, 2, 3, 4, 4), strict=True))
    monkeypatch.setitem(EXPECTED, "market1501", counts)
    return imitate("market1501", tmp_path)


def test_every_bad_file_is_named_at_once(market: Path) -> None:
    train = sorted((market / "bounding_box_train").iterdir())
    whole = train[0].read_bytes()
    train[0].write_bytes(whole[: len(whole) // 2])
    train[1].write_bytes(b"")
    train[2].write_text("<html>please log in</html>")
    query = sorted((market / "query").iterdir())[3]
    query.write_bytes(b"\xff\xd8\xff")
    report = check(market)
    assert not report.ok
    assert len(report.faults) == 4
    for path, why in zip((*train[:3], query), ("runcated", *["cannot identify"] * 3), strict=True):
        assert any(str(path) in fault and why in fault for fault in report.faults)
    assert all(text in report.to_text() for text in (*report.faults, "do: restore", "zheng-lab"))


def test_control_characters_of_a_name_are_shown(market: Path) -> None:
    (market / "bounding_box_train" / "0002_c1s1_\x1b[31m_00.jpg").write_bytes(b"no picture")
    text = check(market).to_text()
    assert "0002_c1s1_\\x1b[31m_00.jpg" in text
    assert "\x1b" not in text


def test_images_are_missed_but_for_junk(market: Path) -> None:
    for path in (market / "bounding_box_test").glob("-1_*"):
        path.unlink()
    report = check(market)
    assert report.ok
    assert report.to_text().splitlines()[-1].strip() == "all is well"
    assert any("without its junk" in note for note in report.notes)
    sorted((market / "bounding_box_test").iterdir())[-1].unlink()
    report = check(market)
    assert wrong(report) == {"gallery images": [9, 14], "gallery junk": [0, 4]}
    assert "<- differs" in report.to_text()


def test_a_set_of_another_size_is_ones_own_unless_it_is_named(tmp_path: Path) -> None:
    own, named = check(imitate("market1501", tmp_path)), check(tmp_path, "market1501")
    assert own.ok
    assert own.counts.expected.isna().all()
    assert not named.ok
    assert wrong(named)["train images"] == [16, 12936]
    toy = open_dataset("market1501", tmp_path)
    counts = {split: len(getattr(toy, split)) for split in ("train", "query", "gallery")}
    assert "16 train images instead of 12,936" in not_whole("market1501", counts)
    assert not_whole("folder", counts) == "", "own pictures are measured by nothing"


def test_masks_must_fit(tmp_path: Path) -> None:
    imitate("market1501", tmp_path)
    body = np.zeros((64, 32), np.uint8)
    body[4:61, 12:20] = 255
    (tmp_path / "masks").mkdir()
    for path in tmp_path.glob("*/*.jpg"):
        Image.fromarray(body).save(tmp_path / "masks" / f"{path.stem}.png")
    first, second = sorted((tmp_path / "masks").iterdir())[-2:]
    Image.new("L", (64, 32)).save(first)  # width and height exchanged
    second.unlink()
    report = check(tmp_path)
    data = report.dataset
    inside, picture = data.train.mask(0), np.asarray(data.train.image(0), dtype=float)
    saturation = np.ptp(picture, axis=-1)  # oracle: people are saturated, backgrounds are grey
    assert saturation[inside].mean() > 2 * saturation[~inside].mean()
    assert data.gallery.part_folder is None
    assert wrong(report) == {"masks": [35, 36]}
    (fault,) = report.faults
    assert f"{first.stem}.jpg: its mask is (64, 32), the image (32, 64) (width, height)" in fault


def test_people_are_compared_with_what_their_generator_noted(tmp_path: Path) -> None:
    imitate("market1501", tmp_path)
    counts = {"bounding_box_train": 16, "query": 6, "bounding_box_test": 15}
    write_json(tmp_path / "people.json", {"size": "tiny", "counts": counts, "cameras": 2})
    report = check(tmp_path)
    assert report.dataset.name == "people"
    assert report.counts.loc["cameras"].tolist() == [2, 2]
    assert wrong(report) == {"gallery images": [14, 15]}


def test_pets_small() -> None:
    if not PETS.is_dir():
        pytest.skip(f"real data not found at {PETS}")
    report = check(PETS)
    assert report.ok
    assert report.counts.loc["masks"].tolist() == [539, 539]
    sizes = [len(split) for split in (report.dataset.train, report.dataset.query, report.dataset.gallery)]
    assert sizes == [207, 16, 316]
    assert report.dataset.train.identities.tolist() == [7, 8, 9, 10, 11]
