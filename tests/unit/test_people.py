"""The synthetic pedestrians: counts, same bytes, look-alikes, masks, resuming, bad folders."""

import dataclasses
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import casnkit
from casnkit.data.files import DiskFullError
from casnkit.data.people import (
    ATTRIBUTE_PART,
    DIFFICULTY,
    PARTS,
    PEOPLE_VERSION,
    SIZES,
    contact_sheet,
    lookalike_pairs,
    read_attributes,
    synthesize,
    write,
)
from casnkit.data.people.body import draw_figure
from casnkit.data.people.look import (
    PART_INDEX,
    Job,
    Person,
    draw_lookalike,
    draw_person,
    draw_population,
    make_plan,
    spread,
)
from casnkit.data.people.paint import View
from casnkit.data.people.scene import CAMERAS

MARKET_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d_\d{6}_\d{2}\.jpg")
SPLITS = ("bounding_box_train", "query", "bounding_box_test")


def digest(root: Path) -> dict[str, str]:
    """Every file's hash, by its path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times(root: Path) -> dict[Path, int]:
    """When every file was written."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def differing_parts(one: Person, other: Person) -> set[str]:
    """Parts in which two people's attributes differ."""
    return {part for name, part in ATTRIBUTE_PART.items() if one[name] != other[name]}


@pytest.fixture(scope="module")
def draw_tiny():
    """``draw_tiny(folder)``: people:tiny of seed 3, drawn in this process."""
    return partial(synthesize, size="tiny", seed=3, processes=1, progress=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, draw_tiny) -> Path:
    return draw_tiny(tmp_path_factory.mktemp("people") / "tiny")


def test_counts_names_and_sizes_are_those_of_the_plan(tiny):
    size, seen = SIZES["tiny"], {}
    for folder in SPLITS:
        names = sorted(path.name for path in (tiny / folder).iterdir())
        matches = [MARKET_NAME.fullmatch(name) for name in names]
        assert all(matches), names
        seen[folder] = [(int(m[1]), int(m[2])) for m in matches]
    assert len(seen["bounding_box_train"]) == size.train_images
    assert len({pid for pid, _ in seen["bounding_box_train"]}) == size.train_ids
    assert len(seen["query"]) == size.queries == len(set(seen["query"]))
    kinds = Counter("junk" if pid < 0 else "distractor" if pid == 0 else "good" for pid, _ in seen["bounding_box_test"])
    assert kinds == {"junk": size.junk, "distractor": size.distractors, "good": size.gallery}
    assert not {pid for pid, _ in seen["bounding_box_train"]} & {pid for pid, _ in seen["query"]}
    gallery = set(seen["bounding_box_test"])
    for pid, camid in seen["query"]:  # a match from another camera for everybody
        assert any((pid, other) in gallery for other in CAMERAS if other != camid)
    assert len(list((tiny / "masks").iterdir())) == len(list((tiny / "parts").iterdir())) == size.images
    with Image.open(next((tiny / "query").iterdir())) as image:
        assert image.size == (64, 128)
        assert image.mode == "RGB"


def test_market_has_exactly_market_1501s_counts():
    jobs, _ = make_plan(SIZES["market"], 0, DIFFICULTY)
    assert len({job.name for job in jobs}) == len(jobs) == SIZES["market"].images
    pids = {folder: [int(job.name.split("_")[0]) for job in jobs if job.folder == folder] for folder in SPLITS}
    assert (len(pids["bounding_box_train"]), len(set(pids["bounding_box_train"]))) == (12_936, 751)
    assert (len(pids["query"]), len(set(pids["query"]))) == (3_368, 750)
    assert Counter(min(pid, 1) for pid in pids["bounding_box_test"]) == {1: 13_115, 0: 2_798, -1: 3_819}
    assert {job.camid for job in jobs} == {1, 2, 3, 4, 5, 6}


def test_another_seed_makes_other_people(tiny, tmp_path):
    other = synthesize(tmp_path / "other", "tiny", seed=4, processes=1, progress=False)
    assert read_attributes(other) != read_attributes(tiny)


def test_the_table_says_in_which_part_lookalikes_differ(tiny):
    table, pairs = read_attributes(tiny), lookalike_pairs(tiny)
    assert len(table) == SIZES["tiny"].train_ids + SIZES["tiny"].test_ids
    assert len(pairs) >= 3
    for one, other, part in pairs:
        assert differing_parts(table[one], table[other]) == {part} <= set(PARTS)
        assert table[one]["split"] == table[other]["split"]
        assert table[other]["lookalike_pid"] == str(one)


def test_all_people_of_a_population_differ():
    people, partners = draw_population(0, 1, 300, DIFFICULTY)
    assert len({tuple(person.attributes.values()) for person in people}) == 300
    assert len(partners) == round(300 * DIFFICULTY.lookalike_share / 2) * 2
    assert all(differing_parts(people[i], people[j]) == {part} for i, (j, part) in partners.items())


@pytest.mark.parametrize("start", range(12))
def test_lookalikes_pictures_differ_inside_the_named_part_alone(start):
    """Same pose, camera, light and folds: a pixel may differ only where one of the two shows the part."""
    rng = np.random.default_rng([7, start])
    visible = Counter()
    for _ in range(4):
        person = draw_person(rng, DIFFICULTY)
        double, part = draw_lookalike(rng, person, DIFFICULTY)
        assert differing_parts(person, double) == {part}
        for turn in (0.0, 1.6, 3.1, -1.3):
            view = View(turn, 0.15, 110.0, 32.0, 120.0)
            (rgb, parts), (rgb_2, parts_2) = (
                draw_figure(who, view, (0.8, 0.4, 0.75), np.random.default_rng([start, 5]), DIFFICULTY)
                for who in (person, double)
            )
            differs = (rgb != rgb_2).any(-1)
            owned = (parts == PART_INDEX[part]) | (parts_2 == PART_INDEX[part])
            assert not (differs & ~owned).any()
            visible[part] += int(differs.sum())
    assert all(count > 100 for count in visible.values())  # and it can be seen


@pytest.mark.parametrize("camid", CAMERAS)
def test_the_mask_is_where_the_image_shows_a_person(camid):
    """Dye the clothes otherwise: the pixels that change are those of the part map, wherever the box was put."""
    plain = dataclasses.replace(DIFFICULTY, noise=0.0, blur=0.0, occluder=0.0, bad_crop=1.0, light=0.0, tint=0.0)
    for number in range(6):
        person = draw_person(np.random.default_rng([camid, number]), plain)
        same = {**person.attributes, "upper_pattern": "plain", "lower_pattern": "plain", "lower": "trousers"}
        dyed = [name for name, value in same.items() if "_colour" in name and name != "hair_colour" and value != "none"]
        (black, parts, _), (yellow, parts_2, _) = (
            write.draw(Job("query", 1, Person({**same, **dict.fromkeys(dyed, c)}, 5), 1, camid, number), 9, plain)
            for c in ("black", "yellow")
        )
        changed = np.abs(np.asarray(black, float) - np.asarray(yellow, float)).sum(-1) > 30
        assert (parts == parts_2).all()
        grown = np.lib.stride_tricks.sliding_window_view(np.pad(parts > 0, 1), (3, 3)).any((-1, -2))
        assert not (changed & ~grown).any()
        cloth = np.isin(parts, [PART_INDEX["torso"], PART_INDEX["legs"], PART_INDEX["shoes"]])
        assert (changed & cloth).sum() > 0.85 * cloth.sum()


def test_masks_on_disk_are_the_part_maps_support(tiny):
    covered = []
    for path in sorted((tiny / "bounding_box_train").iterdir()):
        mask = np.asarray(Image.open(tiny / "masks" / f"{path.stem}.png"))
        parts = np.asarray(Image.open(tiny / "parts" / f"{path.stem}.png"))
        assert mask.shape == parts.shape == (128, 64)
        assert set(np.unique(mask)) <= {0, 255}
        assert ((mask > 0) == (parts > 0)).all()
        covered.append((mask > 0).mean())
    assert 0.1 < np.mean(covered) < 0.5


def test_heads_are_up_and_feet_are_down(tiny):
    whole = 0
    for path in sorted((tiny / "query").iterdir()):
        parts = np.asarray(Image.open(tiny / "parts" / f"{path.stem}.png"))
        rows = [np.nonzero(parts == PART_INDEX[name])[0] for name in ("face", "torso", "legs", "shoes")]
        if min(map(len, rows)) > 5:
            whole += 1
            means = [values.mean() for values in rows]
            assert means == sorted(means)
    assert whole > 10


def test_an_interrupted_generation_is_completed_and_never_taken_for_whole(tiny, tmp_path, draw_tiny, monkeypatch):
    root, written, original = tmp_path / "part", [], write._save

    def stops_after_a_while(image, path, quality):
        if len(written) == 40:
            raise KeyboardInterrupt
        written.append(path)
        original(image, path, quality)

    monkeypatch.setattr(write, "_save", stops_after_a_while)
    with pytest.raises(KeyboardInterrupt):
        draw_tiny(root)
    assert not (root / "people.json").exists()
    assert (root / "people.part.json").exists()
    with pytest.raises(ValueError, match=r"attributes\.csv"):
        read_attributes(root)
    kept = {path: path.stat().st_mtime_ns for path in written if path.suffix == ".jpg"}
    (root / "masks" / ".left.123.part").write_bytes(b"half")
    monkeypatch.undo()
    assert digest(draw_tiny(root)) == digest(tiny)
    assert kept.items() <= times(root).items()  # nothing was drawn twice


def test_a_whole_data_set_is_left_alone_and_a_damaged_one_mended(tiny, tmp_path, draw_tiny):
    root = draw_tiny(tmp_path / "whole")
    before = times(root)
    assert times(draw_tiny(root)) == before
    next((root / "query").iterdir()).unlink()
    assert digest(draw_tiny(root)) == digest(tiny)


def test_folders_with_something_else_are_refused(tiny, tmp_path, draw_tiny):
    before = times(tiny)
    with pytest.raises(ValueError, match=r"another seed: expected 5, found 3.*delete that folder or choose another"):
        draw_tiny(tiny, seed=5)
    with pytest.raises(ValueError, match="another size"):
        draw_tiny(tiny, size="quick")
    with pytest.raises(ValueError, match="another difficulty"):
        draw_tiny(tiny, difficulty=dataclasses.replace(DIFFICULTY, noise=0.5))
    assert times(tiny) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"to be empty.*notes.txt"):
        draw_tiny(tmp_path)
    with pytest.raises(ValueError, match="found a file"):
        draw_tiny(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="expected a size among tiny, quick, market"):
        draw_tiny(tmp_path / "new", size="huge")
    with pytest.raises(ValueError, match="seed"):
        draw_tiny(tmp_path / "new", seed=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "people.json").write_text(json.dumps({"version": "0.1", "size": "tiny", "finished": True}))
    with pytest.raises(ValueError, match=re.escape(f"another version: expected {PEOPLE_VERSION}, found 0.1")):
        draw_tiny(tmp_path / "old")


def test_a_full_disk_is_said_and_the_rest_made_later(tiny, tmp_path, draw_tiny, monkeypatch):
    root, calls, original = tmp_path / "full", [], os.replace

    def full(source, target):
        calls.append(target)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFullError, match="Free some space"):
        draw_tiny(root)
    assert not (root / "people.json").exists()
    assert not list(root.rglob(".*"))  # no unfinished file stays
    monkeypatch.undo()
    assert digest(draw_tiny(root)) == digest(tiny)


def test_two_processes_of_a_script_without_a_guard_give_the_same_bytes(tiny, tmp_path):
    script = tmp_path / "script.py"
    call = f"synthesize({str(tmp_path / 'two')!r}, 'tiny', seed=3, processes=2, progress=False)"
    script.write_text(f"from casnkit.data.people import synthesize\nprint('start')\n{call}\n")
    package = Path(casnkit.__file__).parents[1]
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(package)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "start\n", "")
    assert digest(tmp_path / "two") == digest(tiny)


def only_here(here, failure, make, *args, **options):
    """``make``, but in another process than ``here`` an error, or the process's end."""
    if os.getpid() == here:
        return make(*args, **options)
    if failure is None:
        os._exit(3)
    raise failure


def test_dead_workers_are_replaced_by_this_process(tiny, tmp_path, draw_tiny, monkeypatch):
    monkeypatch.setattr(write, "_make", partial(only_here, os.getpid(), None, write._make))
    with pytest.warns(RuntimeWarning, match="drawing the remaining people in this process"):
        root = draw_tiny(tmp_path / "alone", processes=2)
    assert digest(root) == digest(tiny)


def test_a_worker_without_room_says_so(tmp_path, draw_tiny, monkeypatch):
    full = DiskFullError("no space left")
    monkeypatch.setattr(write, "_make", partial(only_here, os.getpid(), full, write._make))
    with pytest.raises(DiskFullError, match="no space left"):
        draw_tiny(tmp_path / "full", processes=2)
    assert not (tmp_path / "full" / "people.json").exists()


def test_a_difficulty_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"occluder in \[0, 1\], got 2; colours in \[6, 16\], got 3"):
        dataclasses.replace(DIFFICULTY, occluder=2, colours=3)


@pytest.mark.parametrize(("total", "places", "low", "high"), [(3368, 750, 2, 6), (20, 10, 2, 6), (60, 10, 2, 6)])
def test_spread_sums_and_stays_within_its_limits(total, places, low, high):
    counts = spread(np.random.default_rng(0), total, places, low, high)
    assert (counts.sum(), len(counts)) == (total, places)
    assert low <= counts.min() <= counts.max() <= high


def test_contact_sheet_has_a_row_for_each_person(tiny):
    pids = sorted(read_attributes(tiny))[:3]
    sheet = contact_sheet(tiny, pids, cameras=(1, 2), zoom=2)
    assert sheet.size == ((64 * 2 + 2) * 2, (128 * 3 + 4) * 2)
    assert np.asarray(sheet).std() > 10
