"""Own pictures in folders as people have them: what is read, told and refused. Files are empty: names count."""

import dataclasses
import json
import os
import re
import tempfile
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from imitations import Shape, imitate
from test_readers import MARKET, refused, told, touch

import casnkit as ck
from casnkit.__main__ import main
from casnkit.data import readers
from casnkit.data.check import check
from casnkit.data.records import unfit

TWO, TEN = ["1.jpg", "2.jpg"], [f"{i}.jpg" for i in range(10)]
PEOPLE = {f"p{i}": TWO for i in range(6)}
NUMBERED = [f"{i:03d}_45.jpg" for i in range(6)]


def splits(inner: str, train: str = "train", query: str = "query", gallery: str = "gallery") -> dict[str, list[str]]:
    people = {train: (1, 2, 3), query: (4, 5), gallery: (4, 5)}
    return {
        f"{split}/{inner.format(p=p, c=c)}": [f"{split}.jpg"] for split in people for p in people[split] for c in (1, 2)
    }


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"cam_a": TEN, "cam_b": TEN}, "cam_a/, cam_b/ .* look like cameras"),
        ({"Camera 1": TEN, "Camera 2": TEN, "Camera 3": TEN}, "look like cameras"),
        ({"images": TEN, "Labels": TEN}, "Labels/, images/ .*look like cameras or parts"),
        ({"BOUNDING_BOX_TRAIN": TEN, "Query": TEN}, "expected query/ and gallery/ .*found BOUNDING_BOX_TRAIN/, Query/ alone"),
        ({"train": TEN, "val": TEN}, "found train/ alone"),
        ({**PEOPLE, "all": [f"{i}.jpg" for i in range(12)]}, "all/ alone holds 12 of 24 pictures.*--as folder"),
        ({"left": NUMBERED, "right": NUMBERED, "more": NUMBERED}, "left/ has pictures of 6 different numbers.*--as folder"),
        ({f"lab/{n}": t for n, t in PEOPLE.items()} | {f"yard/{n}": t for n, t in PEOPLE.items()}, "lab/p0/1.jpg.*pattern"),
        ({f"p{i}": ["a.heic"] for i in range(6)}, r"6 files \(.heic\)"),
        ({f"p{i}": ["a.jpg"] for i in range(6)}, "two pictures of one person, found 6 pictures of 6 people"),
        ({folder: ["img_1.jpg", "img_2.jpg"] for folder in MARKET}, r"\.jpg, .*skipped, such as img_1.jpg.*name-pattern"),
        ({"train/0": ["0000_000_01_0303morning_0001_0.jpg"], "test": TEN}, "are those of msmt17.* list_train"),
        ({"query": MARKET["query"], "bounding_box_test": MARKET["bounding_box_test"], "bounding_box_train": ["x.jpg"]},
         "in .*bounding_box_train, found none: 1 files"),
    ],
)  # fmt: skip
def test_what_is_no_person_is_refused(tmp_path: Path, tree: dict, message: str) -> None:
    refused(message, str(touch(tmp_path, tree)))
    if "--as folder" in message:
        assert ck.open_dataset("folder", tmp_path).name == "folder"


@pytest.mark.parametrize(
    ("tree", "images", "note"),
    [
        ({**PEOPLE, "labels": TEN}, 12, "left out: labels/ (10 pictures"),
        ({**PEOPLE, "p0/more": TEN}, 12, "10 files (.jpg) skipped, such as p0/more/0.jpg"),
        ({**PEOPLE, "p1": [*TWO, "x.HEIC", "y.avif"]}, 12, "1 files (.HEIC), 1 files (.avif) skipped"),
        ({**splits("{p}"), "train_all/1": TWO, "val/1": TWO}, 7, "not read: train_all/ (2 pictures), val/ (2 pictures)"),
        (splits("{p}", train="train_all"), 7, "train_all/ is taken for training"),
        ({**MARKET, "gt_bbox": TEN}, 10, "not read: gt_bbox/ (10 pictures)"),
        ({f"set/{f}": n for f, n in MARKET.items()} | {f"__MACOSX/set/{f}": n for f, n in MARKET.items()}, 10, ""),
        ({**MARKET, "query/more": ["0003_c5_1.jpg"]}, 11, "1 pictures from folders inside a split's folder are read too"),
        ({f"inner/{name}": names for name, names in PEOPLE.items()}, 12, "the first 3 of 6 people train"),
        ({**PEOPLE, "1" * 20: TWO}, 14, "the first 3 of 7 people train"),
        ({**MARKET, "query": [*MARKET["query"], "1" * 20 + "_c1.jpg"]}, 10, "query: 1 files (.jpg) skipped"),
        ({**MARKET, "query": ["0000_c1_1.jpg"], "bounding_box_test": ["0000_c2_1.jpg"]}, 5, "people count from 0"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_told(tmp_path: Path, tree: dict, images: int, note: str) -> None:
    data = ck.open_dataset(str(touch(tmp_path, tree)))
    assert sum(len(split) for split in (data.train, data.query, data.gallery)) == images
    assert told(data.notes, note)
    assert data.train.pids.min() > 0 < data.query.pids.min()


@pytest.mark.parametrize(
    ("tree", "how", "cameras"),
    [
        (splits("cam0{c}/person{p}"), {}, [1, 2]),
        (splits("person{p}/Cam{c}"), {}, [1, 2]),
        (splits("{p}", "bounding_box_train", "query", "bounding_box_test"), {}, [-1]),
        (splits("{p}", "Bounding_Box_Train", "QUERY", "Bounding_Box_Test"), {}, [-1]),
        ({f: [f"{p:04d}_c{c}_{f}.jpg" for p, c in product((1, 2, 3) if f == "train" else (4, 5), (3, 7))]
          for f in ("train", "query", "gallery")}, {}, [3, 7]),
        ({"": [f"{p:04d}_c{c}.jpg" for p, c in product(range(6), (1, 2))]}, {}, [1, 2]),
        ({"": [f"at{c}-nr{p}.jpg" for p, c in product(range(6), "ab")]},
         {"name_pattern": r"at(?P<camid>.)-nr(?P<pid>\d)"}, [1, 2]),
        ({"": [f"nr{p}door{c}.jpg" for p, c in product(range(6), "ab")]}, {"name_pattern": r"nr(\d)door(.)"}, [1, 2]),
        (splits("cohort/{p}"), {"name_pattern": "cohort/(?P<pid>[^/]+)/"}, [-1]),
        (splits("hall_{c}/{p}"), {"name_pattern": "/(?P<pid>[^/]+)/", "camera_pattern": r"hall_(\d)/"}, [1, 2]),
    ],
)  # fmt: skip
def test_arrangements_and_patterns(tmp_path: Path, tree: dict, how: dict, cameras: list[int]) -> None:
    data = ck.open_dataset(str(touch(tmp_path, tree)), **how)
    assert (data.train.identities.tolist(), len(data.query.identities) > 1) == ([1, 2, 3], True)
    assert sorted({*data.train.camids.tolist(), *data.gallery.camids.tolist()}) == cameras
    assert how.items() <= data.opening.items()
    blind = ck.open_dataset(str(tmp_path), **how, ignore_cameras=True)
    assert {*blind.train.camids.tolist(), *blind.query.camids.tolist()} == {-1}


@pytest.mark.parametrize("pattern", ["(", "no group", 7, b"(.)", "zzz(.)", "(?P<camid>.)"])
def test_bad_patterns(tmp_path: Path, pattern: object) -> None:
    touch(tmp_path, PEOPLE)
    with pytest.raises(ValueError, match=r"a regular expression with a group, got|found none"):
        ck.open_dataset(str(tmp_path), name_pattern=pattern)


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path / "set", MARKET)
    (tmp_path / "again").symlink_to(tmp_path / "set")
    assert ck.open_dataset(str(tmp_path)).root == tmp_path / "set"
    touch(tmp_path / "own", PEOPLE)
    (tmp_path / "own" / "p0" / "up").symlink_to(tmp_path / "own")
    assert len(ck.open_dataset(str(tmp_path / "own")).train) == 6


def test_names_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = imitate("market1501", tmp_path / "my cafe")
    assert [ck.open_dataset(*how).name for how in ((str(root),), ("market1501", root))] == ["my cafe", "market1501"]
    known, counts = readers.READERS, {"train images": 16, "query images": 6, "gallery images": 14}
    labeled = dataclasses.replace(known["cuhk03-np-labeled"], counts=counts)
    monkeypatch.setitem(known, "cuhk03-np-labeled", labeled)
    assert ck.open_dataset(str(root)).name == "cuhk03-np-labeled", "its counts tell it"
    for path in (root / "bounding_box_train").iterdir():
        path.unlink()
    (root / "bounding_box_train").rmdir()
    data = ck.open_dataset(str(root))
    assert (len(data.train), len(data.query)) == (0, 6)
    assert "no training pictures" in unfit(data, to_train=True)
    assert unfit(data) == ""


TRAIN = ["--profile", "smoke", "--out", "run", "--epochs", "1", "--device", "cpu", "--set", "height=32", "width=16"]


def test_cameras_are_asked_for_before_work(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    imitate("market1501", tmp_path / "one", shape=Shape(num_cameras=1, per_camera=3))
    for path in (tmp_path / "one" / "bounding_box_test").glob("*_c2*"):
        path.unlink()
    assert main(["train", "--data", "one", *TRAIN]) == 2
    assert "every gallery picture of its person is from its own camera" in capsys.readouterr().err
    assert not Path("run").exists()
    report = check("one")
    assert (report.ok, "--ignore-cameras" in report.to_text(), "restore" in report.to_text()) == (False, True, False)
    with pytest.raises(ValueError, match="ignore_cameras=True"):
        ck.notebook.start("smoke", str(tmp_path / "one"))
    assert main(["train", "--data", "one", *TRAIN, "batch_size=4", "padding=1", "--ignore-cameras"]) == 0
    assert json.loads(Path("run/run.json").read_text())["data"]["opening"] == {"ignore_cameras": True}
    assert main(["evaluate", "--run", "run", "--pictures", "0", "--device", "cpu"]) == 0, (
        "the run knows how it was opened"
    )


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(st.sets(NAMES, min_size=4, max_size=8), st.text(max_size=6))
def test_any_names_of_people(names: set[str], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        names = {
            name for name in names if len(os.fsencode(name)) < 200 and name[0] != "." and not name.endswith(".part")
        }
        touch(Path(root), {f"{name}": TWO for name in names})
        try:
            data = ck.open_dataset("folder", root, camera_pattern=f"({re.escape(pattern)})")
        except ValueError:
            reject()  # a part's name; where that is often, hypothesis complains
        told_of = sum(int(n) for note in data.notes for n in re.findall(r"(\d+) (?:pictures, such as|junk or)", note))
        assert sum(len(split) for split in (data.train, data.query, data.gallery)) + told_of == 2 * len(names)
        assert len({*data.train.pids.tolist(), *data.gallery.pids.tolist()}) == len(data.query) + len(data.train) // 2


@settings(max_examples=30, deadline=None)
@given(st.sets(st.tuples(st.integers(-1, 10**20), st.integers(0, 10**20)), max_size=5), st.sets(NAMES, max_size=4))
def test_any_names_of_benchmarks(numbers: set[tuple[int, int]], others: set[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        good = {f"{pid:04d}_c{camid}_1.jpg": (pid, camid) for pid, camid in numbers}
        touch(
            Path(root),
            {
                **MARKET,
                "bounding_box_test": [*MARKET["bounding_box_test"], *good, *(f"x{name}.jpg" for name in others)],
            },
        )
        gallery = ck.open_dataset("market1501", root).gallery
        usual = [(-1, 1), (0, 3), (1, 1), (1, 2), (3, 2)]  # as MARKET has them
        short = [pair for pair in good.values() if max(pair) < 10**18]
        assert sorted(zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True)) == sorted(usual + short)


@settings(max_examples=50, deadline=None)
@given(*[st.lists(st.tuples(st.integers(-1, 3), st.sampled_from((-1, 1, 2))), min_size=1, max_size=5)] * 2)
def test_a_set_is_unfit_where_the_protocol_counts_no_query(query: list, gallery: list) -> None:
    sides = [
        ck.Split([str(i) for i in range(len(side))], *zip(*side, strict=True), name)
        for side, name in ((query, "query"), (gallery, "gallery"))
    ]
    data = ck.ReidDataset("made", Path(), sides[0], *sides)
    matches = [p == r > 0 and (q != g or q == -1) for p, q in query for r, g in gallery]
    assert bool(unfit(data)) == (not any(matches))


@pytest.mark.parametrize("found", [b"", b"no MATLAB", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(64)])
def test_a_damaged_matlab_file_is_said(tmp_path: Path, found: bytes) -> None:
    root = imitate("mars", tmp_path / "mars")
    (root / "info" / "query_IDX.mat").write_bytes(found)
    with pytest.raises(ValueError, match=r"mars: expected lists in .*info"):
        ck.open_dataset("mars", root)
