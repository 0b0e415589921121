"""Readers of benchmarks: hand-written folders of empty files as oracle (opening reads names, never pixels)."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from imitations import LAYOUTS, Shape, draw, imitate
from scipy.io import savemat

from casnkit.data import open_dataset, people, readers
from casnkit.data.files import DiskFullError

TRAIN = ["0002_c1s1_000451_03.jpg", "0002_c6s1_000801_01.jpg", "0007_c2s3_070952_01.jpg", "Thumbs.db"]
QUERY = ["0001_c1s1_001051_00.jpg", "0003_c2s1_000000_00.JPG"]
GALLERY = [
    *("-1_c1s1_000401_03.jpg", "0000_c3s1_000000_01.jpg", "0001_c2s1_000301_00.png"),
    *("0001_c1s1_002051_00.jpg", "0003_c2s1_000100_00.jpeg", "cover.jpg"),
]
MARKET = {"bounding_box_train": TRAIN, "query": QUERY, "bounding_box_test": GALLERY}


def touch(root: Path, tree: dict[str, list[str]]) -> Path:
    for folder, names in tree.items():
        for name in names:
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(b"")
    return root


def told(notes: tuple[str, ...], *sentences: str) -> bool:
    return all(any(sentence in note for note in notes) for sentence in sentences)


def refused(message: str, name: str, root: Path | None = None) -> None:
    with pytest.raises(ValueError, match=message):
        open_dataset(name, root, progress=False)


def test_market_is_read_from_file_names_alone(tmp_path: Path) -> None:
    # the path fits the pattern too
    root = touch(tmp_path / "run-2_c9" / "0005_c3s1_x" / "Market-1501-v15.09.15", MARKET)
    touch(root, {"bounding_box_train": ["-1_c1s1_0_0.jpg", "0000_c1s1_0_0.jpg"], "query": ["0000_c1s1_0_0.jpg"]})
    data = open_dataset("market1501", tmp_path)
    assert data.root == root
    assert (data.train.pids.tolist(), data.train.camids.tolist()) == ([2, 2, 7], [1, 6, 2])
    assert data.query.pids.tolist() == [1, 3]
    # "-" sorts before "0": junk first; both numbers as in the files, junk and distractor kept
    assert (data.gallery.pids.tolist(), data.gallery.camids.tolist()) == ([-1, 0, 1, 1, 3], [1, 3, 1, 2, 2])
    assert data.gallery.identities.tolist() == [1, 3]
    assert told(data.notes, "bounding_box_train: 1 files", "Thumbs.db", "cover.jpg", "3 junk or distractor")


NEEDED = {folder: names[:1] for folder, names in MARKET.items()}
OWN = {"query/ann": ["x.jpg"], "gallery/ann": ["y.jpg"]}


@pytest.mark.parametrize(
    ("tree", "name", "root", "message"),
    [
        (NEEDED, "market1501", "query", "wrong level of folder: give .*set"),
        ({"query": QUERY}, "market1501", "", "set lacks bounding_box_train, bounding_box_test.*zheng-lab"),
        ({"": ["x.zip"]}, "market1501", "x.zip", "expected a folder .*unpacked first.*zheng-lab"),
        ({"": ["x.zip"]}, "auto", "", "auto: expected one of people, .*Found there: x.zip"),
        ({"query": QUERY}, "dukemtmc-reid", "", "withdrawn by its authors"),
        (
            {**NEEDED, "query": ["Thumbs.db"]},
            "market1501",
            "",
            "in .*query, found none: 1 files ..db. skipped, such as query.Thumbs.db",
        ),
        ({**NEEDED, "bounding_box_test": ["x.db"]}, "market1501", "", "in .*bounding_box_test, found none"),
        ({**MARKET, "bounding_box_train": QUERY}, "market1501", "", r"2 of 2 test people .* too, pids \[1, 3\]"),
        ({**OWN, "train/ann": ["z.jpg"]}, "folder", "", "in training too"),
        ({"train/ann": ["z.jpg"], "query/bob": ["x.jpg"]}, "folder", "", "found train/, query/ alone"),
        ({"": ["x.jpg"]}, "folder", "", "expected pictures .* in a folder for each person.*skipped, such as x.jpg"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, tree: dict, name: str, root: str, message: str) -> None:
    touch(tmp_path / "set", tree)
    refused(message, name, tmp_path / "set" / root)


def test_names_and_places_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASNKIT_DATA", raising=False)
    refused(r"cuhk03-np-labeled, market1501.*got 'Market-1501'", "Market-1501")
    refused(r"expected a folder at .*nowhere", str(tmp_path / "nowhere"))
    refused("CASNKIT_DATA", "market1501")
    monkeypatch.setenv("CASNKIT_DATA", str(touch(tmp_path, MARKET)))
    with pytest.raises(ValueError, match="camera_pattern is for own pictures"):
        open_dataset("market1501", camera_pattern="c(.)")


@pytest.mark.parametrize(("name", "size"), [("people", "quick"), ("people:tiny", "tiny")])
def test_people_are_market_layout_with_tables_and_generated_where_none_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: str
) -> None:
    def synthesize(root: Path, size: str, **_: object) -> Path:
        imitate("market1501", root)
        (root / "people.json").write_text(json.dumps({"size": size, "seed": 3, "version": 1}))
        (root / "attributes.csv").write_text("pid\n")
        return root

    monkeypatch.setattr(people, "synthesize", synthesize)
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path))
    data = open_dataset(name)
    assert data.root.name == f"people-{size}-{people.PEOPLE_VERSION}"
    assert (data.name, data.tables) == ("people", {"attributes": data.root / "attributes.csv"})
    assert f"generated people: size {size}, seed 3, version 1" in data.notes
    (data.root / "people.json").rename(data.root / "people.part.json")
    refused(r"interrupted.*casnkit data synthesize", "auto", data.root)


def test_two_sets_below_one_folder_are_told_apart(tmp_path: Path) -> None:
    imitate("market1501", tmp_path / "a")
    assert told(open_dataset("dukemtmc-reid", tmp_path).notes, "dukemtmc-reid, yet this looks like market1501")
    imitate("dukemtmc-reid", tmp_path / "b")
    assert open_dataset("dukemtmc-reid", tmp_path).root == tmp_path / "b"
    assert open_dataset("market1501", tmp_path).root == tmp_path / "a"
    refused("2 sets lie below", "auto", tmp_path)
    imitate("market1501", tmp_path / "c")
    refused("Give the folder of one", "market1501", tmp_path)


@pytest.mark.parametrize("name", [*LAYOUTS, "cuhk03-raw"])
def test_auto_recognises_every_imitation(tmp_path: Path, name: str) -> None:
    write_raw(tmp_path / "set") if name == "cuhk03-raw" else imitate(name, tmp_path / "set")
    data = open_dataset(str(tmp_path / "set"), progress=False)
    expected = {"cuhk03-raw": "cuhk03-np-detected", "folder-flat": "folder"}.get(name, name)
    assert data.name == ("set" if name == "market1501" else expected), "its names are many sets' names"
    assert readers.READERS[expected].note in "\n".join(data.notes)
    again = open_dataset(expected, tmp_path / "set", progress=False)
    assert again.train.paths.tolist() == data.train.paths.tolist()
    sizes = (len(data.train), len(data.query), len(data.gallery))
    # 4 training and 3 test people, 2 cameras, 2 images; Market adds 8 junk and distractors; flat: 3 and 4
    assert sizes == {"market1501": (16, 6, 14), "folder-flat": (12, 4, 12), "viper": (12, 4, 12)}.get(name, (16, 6, 6))


def test_a_new_reader_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(name: str, root: Path, notes: list[str], **_: object) -> readers.Found:
        notes.append("read by the new one")
        return root, [(split, f"{split}.jpg", i + 1, 1) for i, split in enumerate(("train", "query", "gallery"))]

    entry = readers.Reader("It is nowhere.", {}, read, lambda _, folder: (folder / "new.txt").is_file())
    monkeypatch.setitem(readers.READERS, "new", entry)
    touch(tmp_path / "deep", {"": ["new.txt"]})
    data = open_dataset(str(tmp_path))
    assert (data.name, data.root, data.query.pids.tolist()) == ("new", tmp_path / "deep", [2])
    assert data.notes == ("read by the new one",)
    # most often folders and a pattern are enough
    folders, pattern = ("tr", "probe", "pool"), r"cam(?P<camid>\d)_(?P<pid>\d+)"
    monkeypatch.setitem(readers.READERS, "named", readers.Reader("Nor is it.", folders=folders, pattern=pattern))
    root = touch(tmp_path / "b", {"tr": ["cam1_004.png"], "probe": ["cam2_017.png"], "pool": ["cam3_017.png", "x.png"]})
    data = open_dataset(str(root))
    assert (data.name, data.query.pids.tolist(), data.gallery.camids.tolist()) == ("named", [17], [3])
    assert told(data.notes, "pool: 1 files (.png) skipped")


def test_cuhk03_says_which_boxes(tmp_path: Path) -> None:
    root = imitate("cuhk03-np-labeled", tmp_path / "cuhk03-np")
    for folder in (tmp_path, root / "labeled"):
        refused(r"expected detected/ in .*other variant alone", "cuhk03-np-detected", folder)
    data = open_dataset("cuhk03-np-labeled", tmp_path)
    assert data.root == root / "labeled"
    assert "the labeled boxes are in use" in data.notes[0]


def write_raw(root: Path) -> Path:
    """CUHK03's ``.mat`` files: one pair of cameras holds everybody; the other four are empty, as is what a person lacks."""
    h5py = pytest.importorskip("h5py")
    root.mkdir()
    images, rng = Shape().images(), np.random.default_rng(0)
    with h5py.File(root / readers.RAW_FILE, "w", userblock_size=512) as file:
        pairs = file["labeled"] = file.create_dataset("detected", (1, 5), dtype=h5py.ref_dtype)
        for pair in range(5):
            cells = file.create_dataset(f"#refs#/{pair}", (10, 0 if pair else 7), dtype=h5py.ref_dtype)
            pairs[0, pair] = cells.ref
            for image, person in np.ndindex(cells.shape):
                value = np.zeros(2, dtype=np.uint64)  # an empty cell arrives as its sizes
                if image % 5 < 2:  # MATLAB's column order: (H, W, 3) arrives as (3, W, H)
                    value = draw(person + 1, image // 5 + 1, (32, 64), rng).transpose(2, 1, 0)
                cells[image, person] = file.create_dataset(f"#refs#/{person}_{image}", data=value).ref
    names = [f"1_{pid:03d}_{view}_{5 * (view - 1) + index + 1:02d}.png" for _, pid, view, index in images]
    columns = {"labels": [image[1] for image in images], "camId": [image[2] for image in images]}
    for split in ("train", "query", "gallery"):  # MATLAB counts from 1
        columns[f"{split}_idx"] = [i for i, image in enumerate(images, 1) if image[0] == split]
    columns["filelist"] = np.array(names, dtype=object)
    for variant in readers.VARIANTS:
        protocol = {key: np.array(values)[:, None] for key, values in columns.items()}
        savemat(root / readers.PROTOCOL_FILE.format(variant), protocol)
    return root


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "cuhk03_release")


@pytest.mark.parametrize("variant", ["detected", "labeled"])
def test_cuhk03_raw_gives_upright_pictures_of_the_right_people(raw: Path, variant: str) -> None:
    name = readers.PROTOCOL_FILE.format(variant)
    (raw / name).rename(raw.parent / name)  # the configuration lies beside the raw file's folder
    data = open_dataset(f"cuhk03-np-{variant}", raw.parent, progress=False)
    assert data.root == raw / "cuhk03-np-extracted" / variant
    stems = [Path(path).stem for path in data.query.paths]
    assert stems == [f"{p:04d}_c{v}_1_{p:03d}_{v}_{5 * v - 4:02d}" for p in (5, 6, 7) for v in (1, 2)]
    noise = np.random.default_rng(9)
    for split in (data.train, data.query, data.gallery):
        for i, (pid, camid) in enumerate(zip(split.pids, split.camids, strict=True)):
            picture = np.asarray(split.image(i), dtype=float)
            right, wrong = (draw(p, int(camid), (32, 64), noise) for p in (int(pid), int(pid) + 1))
            assert np.abs(picture - right).mean() < 12 < np.abs(picture - wrong).mean()


def test_cuhk03_extraction_is_continued_and_never_half(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, real, limit = [], readers.atomic_path, 5

    def counted(path: Path) -> object:
        if len(written) >= limit:
            raise DiskFullError(f"no space left while writing {path}") from OSError(errno.ENOSPC, "full")
        written.append(path)
        return real(path)

    monkeypatch.setattr(readers, "atomic_path", counted)
    with pytest.raises(DiskFullError, match="no space"):
        open_dataset("cuhk03-np-detected", raw, progress=False)
    assert not (raw / "cuhk03-np-extracted" / "detected").exists()
    refused("expected bounding_box_train", "market1501", raw)  # the part is no set
    limit = 1000
    for _ in range(2):  # every picture is written once
        data = open_dataset("cuhk03-np-detected", raw, progress=False)
        assert len(data.train) + len(data.query) + len(data.gallery) == 28 == len(written) == len(set(written))
    assert [folder.name for folder in (raw / "cuhk03-np-extracted").iterdir()] == ["detected"]


def test_cuhk03_raw_with_something_missing(raw: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(raw / readers.RAW_FILE, "r+") as file:
        cells = file[file["detected"][0, 0]]
        cells[1, 0] = file.create_dataset("#refs#/gone", data=np.zeros(2, dtype=np.uint64)).ref
    (raw / readers.PROTOCOL_FILE.format("labeled")).rename(raw / "elsewhere.mat")

    refused(r"protocol's 1_001_1_02.png is not in .*cuhk-03.mat", "cuhk03-np-detected", raw)
    refused(r"no cuhk03_new_protocol_config_labeled.mat.*zhunzhong07", "cuhk03-np-labeled", raw)
    (raw / readers.RAW_FILE).write_bytes(b"half a download")
    refused(r"expected a MATLAB 7.3 file at .*cuhk-03.mat", "cuhk03-np-detected", raw)
    (raw / readers.PROTOCOL_FILE.format("detected")).write_bytes(b"not MATLAB")
    refused(r"expected filelist, labels", "cuhk03-np-detected", raw)


MSMT = {
    "list_train.txt": "0000/0000_000_01_0303morning_0008_0.jpg 0\n0001/0001_000_15_0303noon_0008_0.jpg 1\n",
    "list_val.txt": "0000/0000_001_14_0303morning_0009_0.jpg 0\n",
    "list_query.txt": "0000/0000_000_02_0303morning_0008_0.jpg 0\n",
    "list_gallery.txt": "0001/0001_000_03_0303morning_0008_0.jpg 1\n0000/0000_001_04_0303noon_0008_0.jpg 0\n",
}


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_by_hand(tmp_path: Path, folders: tuple[str, str]) -> None:
    root, (train, test) = tmp_path / "MSMT17_V1", folders
    for name, text in MSMT.items():
        folder = train if name in ("list_train.txt", "list_val.txt") else test
        touch(root / folder, {"": [line.split()[0] for line in text.splitlines()]})
        (root / name).write_text(text)
    data = open_dataset("msmt17", tmp_path)
    assert data.train.pids.tolist() == [1, 1, 2]  # list numbers 0, 0, 1; training and validation together, sorted
    assert data.train.camids.tolist() == [1, 14, 15]
    assert (data.query.pids.tolist(), data.query.camids.tolist()) == ([3], [2])  # 0 in the test list, behind 1 and 2
    assert (data.gallery.pids.tolist(), data.gallery.camids.tolist()) == ([3, 4], [4, 3])
    assert told(data.notes, "list_train.txt and list_val.txt, 3 images; test people count from 3")
    (root / test / "0001" / "0001_000_03_0303morning_0008_0.jpg").unlink()
    refused(r"list_gallery.txt names 1 of 2 absent pictures", "msmt17", root)
    (root / "list_query.txt").write_text("0000/0000_000_02_0303morning_0008_0.jpg\n")
    refused(r"line 1 of .*list_query.txt", "msmt17", root)
    (root / test).rename(root / "elsewhere")
    refused(r"expected test/ or mask_test_v2/ beside .*list_query.txt", "msmt17", root)


def test_folder_with_cameras(tmp_path: Path) -> None:
    imitate("folder", tmp_path, shape=Shape(num_cameras=3))
    data = open_dataset("folder", tmp_path, camera_pattern=r"cam(\d+)")
    assert data.train.pids.tolist() == np.repeat([1, 2, 3, 4], 6).tolist()
    assert data.query.pids.tolist() == np.repeat([5, 6, 7], 3).tolist()
    assert data.query.camids.tolist() == [1, 2, 3] * 3
    assert not told(data.notes, "same-camera")
    blind = open_dataset("folder", tmp_path)
    assert set(blind.gallery.camids.tolist()) == {-1}
    assert told(blind.notes, "same-camera rule is off")
    assert not told(blind.notes, "same file")
    copied = Path(blind.query.paths[0])
    (tmp_path / "gallery" / copied.parent.name / "renamed.png").write_bytes(copied.read_bytes())
    assert told(open_dataset("folder", tmp_path).notes, "1 queries lie in the gallery as the same file")


def test_folder_flat_is_halved(tmp_path: Path) -> None:
    touch(tmp_path, {"ann": ["a_1.jpg", "b_1.jpg"], "bob": ["a_1.jpg"], "di": ["a_1.jpg", "b_2.jpg"]})
    touch(tmp_path, {"cy": ["a_1.jpg", "a_2.jpg", "b_3.png"], "": ["loose.jpg"]})
    data = open_dataset("folder", tmp_path, camera_pattern=r"^([ab])_")
    names = [[path.removeprefix(f"{tmp_path}/") for path in split.paths] for split in (data.train, data.query)]
    assert names == [["ann/a_1.jpg", "ann/b_1.jpg", "bob/a_1.jpg"], ["cy/a_1.jpg", "di/a_1.jpg"]]
    assert (data.gallery.pids.tolist(), data.gallery.camids.tolist()) == ([3, 3, 4], [1, 2, 2])  # in the names' order
    assert told(data.notes, "the first 2 of 4 people train", "1 files (.jpg) skipped, such as loose.jpg")


def test_folder_numbers(tmp_path: Path) -> None:
    touch(tmp_path / "a", {"train/12": ["x.jpg"], "query/007": ["x.jpg"], "gallery/007": ["y.jpg"]})
    data = open_dataset("folder", tmp_path / "a")
    assert (data.train.pids.tolist(), data.query.pids.tolist()) == ([12], [7])
    # zero-based numbers must not turn a person into a distractor, and a set without training can be tested on
    touch(tmp_path / "b", {"query/0": ["x.jpg"], "gallery/0": ["y.jpg"], "gallery/1": ["y.jpg"]})
    data = open_dataset("folder", tmp_path / "b")
    assert (len(data.train), data.query.pids.tolist(), data.gallery.pids.tolist()) == (0, [1], [1, 2])
