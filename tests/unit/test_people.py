"""The synthetic pedestrians: counts, same bytes, look-alikes, masks, resuming, bad folders."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from casnkit.data import people as settings_module
from casnkit.data.files import DiskFullError
from casnkit.data.people import (
    ATTRIBUTE_PART,
    CAMERAS,
    DIFFICULTY,
    FOLDS,
    PART_INDEX,
    PARTS,
    PEOPLE_VERSION,
    SIZES,
    SLOTS,
    Dyes,
    Person,
    View,
    WorkerError,
    contact_sheet,
    differing_parts,
    draw_lookalike,
    draw_passage,
    draw_person,
    draw_population,
    draw_pose,
    dress,
    frame_of,
    lookalike_pairs,
    make_plan,
    paint,
    read_attributes,
    render,
    spread,
    synthesize,
)

MARKET_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d_\d{6}_\d{2}\.jpg")
SPLITS = ("bounding_box_train", "query", "bounding_box_test")


def digest(root: Path) -> dict[str, str]:
    """Every file's hash, by its path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return synthesize(tmp_path_factory.mktemp("people") / "tiny", "tiny", seed=3, processes=1, progress=False)


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
    jobs = make_plan(SIZES["market"], 0, DIFFICULTY).jobs
    assert len({(job.folder, job.name) for job in jobs}) == len(jobs) == len({job.name for job in jobs})
    by_folder = {folder: [job for job in jobs if job.folder == folder] for folder in SPLITS}
    pids = {folder: [int(job.name.split("_")[0]) for job in group] for folder, group in by_folder.items()}
    assert (len(pids["bounding_box_train"]), len(set(pids["bounding_box_train"]))) == (12_936, 751)
    assert (len(pids["query"]), len(set(pids["query"]))) == (3_368, 750)
    counts = Counter(min(pid, 1) for pid in pids["bounding_box_test"])
    assert counts == {1: 13_115, 0: 2_798, -1: 3_819}
    assert {job.camid for job in jobs} == {1, 2, 3, 4, 5, 6}


def test_the_number_of_processes_changes_no_byte(tiny, tmp_path):
    assert digest(synthesize(tmp_path / "two", "tiny", seed=3, processes=2, progress=False)) == digest(tiny)


def test_another_seed_makes_other_people(tiny, tmp_path):
    other = synthesize(tmp_path / "other", "tiny", seed=4, processes=1, progress=False)
    assert read_attributes(other) != read_attributes(tiny)


def test_the_table_says_in_which_part_lookalikes_differ(tiny):
    table, pairs = read_attributes(tiny), lookalike_pairs(tiny)
    assert len(table) == SIZES["tiny"].train_ids + SIZES["tiny"].test_ids
    assert len(ATTRIBUTE_PART) >= 12
    assert len(pairs) >= 3
    for one, other, part in pairs:
        differing = {ATTRIBUTE_PART[name] for name in ATTRIBUTE_PART if table[one][name] != table[other][name]}
        assert differing == {part}
        assert part in PARTS
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
            shots = []
            for who in (person, double):
                moment = np.random.default_rng([start, 5])
                frame = frame_of(who)
                pose = draw_pose(moment, frame, 1.0)
                dyes = Dyes(who, DIFFICULTY.tint, moment.standard_normal((len(SLOTS), 3)))
                folds = moment.random((FOLDS, 3)) * 0.1
                shots.append(paint(dress(who, frame, pose, view, dyes), (0.8, 0.4, 0.75), folds))
            (rgb, parts, _), (rgb_2, parts_2, _) = shots
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
        rng = np.random.default_rng([camid, number])
        person, passage = draw_person(rng, plain), draw_passage(rng, CAMERAS[camid], plain)
        same = {**person.attributes, "upper_pattern": "plain", "lower_pattern": "plain", "lower": "trousers"}
        dyed = [name for name, value in same.items() if "_colour" in name and name != "hair_colour" and value != "none"]
        black, yellow = (
            render(Person({**same, **dict.fromkeys(dyed, c)}, 5), camid, passage, np.random.default_rng(9), plain)
            for c in ("black", "yellow")
        )
        changed = np.abs(np.asarray(black.image, float) - np.asarray(yellow.image, float)).sum(-1) > 30
        assert (black.parts == yellow.parts).all()
        assert not (changed & ~_grow(black.parts > 0, 1)).any()
        cloth = np.isin(black.parts, [PART_INDEX["torso"], PART_INDEX["legs"], PART_INDEX["shoes"]])
        assert (changed & cloth).sum() > 0.85 * cloth.sum()


def _grow(mask: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(mask, by)
    shifts = [(i, j) for i in range(2 * by + 1) for j in range(2 * by + 1)]
    return np.any([padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i, j in shifts], axis=0)


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
    rows = np.arange(128)[:, None]
    for path in sorted((tiny / "query").iterdir()):
        parts = np.asarray(Image.open(tiny / "parts" / f"{path.stem}.png"))
        means = {
            name: (rows * (parts == PART_INDEX[name])).sum() / max(1, (parts == PART_INDEX[name]).sum())
            for name in PARTS
        }
        if (parts == PART_INDEX["shoes"]).sum() > 5 and (parts == PART_INDEX["face"]).sum() > 5:
            assert means["face"] < means["torso"] < means["legs"] < means["shoes"]


def test_an_interrupted_generation_is_completed_and_never_taken_for_whole(tiny, tmp_path, monkeypatch):
    module = sys.modules[synthesize.__module__]  # the function shadows its module's name
    root, written, original = tmp_path / "part", [], module._write

    def stops_after_a_while(path, content):
        if len(written) == 40:
            raise KeyboardInterrupt
        written.append(path)
        original(path, content)

    monkeypatch.setattr(module, "_write", stops_after_a_while)
    with pytest.raises(KeyboardInterrupt):
        synthesize(root, "tiny", seed=3, processes=1, progress=False)
    assert not (root / "people.json").exists()
    assert (root / "people.part.json").exists()
    with pytest.raises(ValueError, match=r"attributes\.csv"):
        read_attributes(root)
    kept = {path: path.stat().st_mtime_ns for path in written if path.suffix == ".jpg"}
    (root / "masks" / ".left.123.part").write_bytes(b"half")
    monkeypatch.setattr(module, "_write", original)
    synthesize(root, "tiny", seed=3, processes=1, progress=False)
    assert digest(root) == digest(tiny)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())  # nothing was drawn twice


def test_a_whole_data_set_is_left_alone_and_a_damaged_one_mended(tiny, tmp_path):
    root = synthesize(tmp_path / "whole", "tiny", seed=3, processes=1, progress=False)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    synthesize(root, "tiny", seed=3, processes=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    next((root / "query").iterdir()).unlink()
    synthesize(root, "tiny", seed=3, processes=1, progress=False)
    assert digest(root) == digest(tiny)


def test_folders_with_something_else_are_refused(tiny, tmp_path):
    before = digest(tiny)
    with pytest.raises(ValueError, match=r"another seed: expected 5, found 3.*delete that folder or choose another"):
        synthesize(tiny, "tiny", seed=5, progress=False)
    with pytest.raises(ValueError, match="another size"):
        synthesize(tiny, "quick", seed=3, progress=False)
    with pytest.raises(ValueError, match="another difficulty"):
        synthesize(tiny, "tiny", seed=3, progress=False, difficulty=dataclasses.replace(DIFFICULTY, noise=0.5))
    assert digest(tiny) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"to be empty.*notes.txt"):
        synthesize(tmp_path, "tiny", progress=False)
    with pytest.raises(ValueError, match="found a file"):
        synthesize(tmp_path / "notes.txt", "tiny", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ValueError, match="expected a size among tiny, quick, market"):
        synthesize(tmp_path / "new", "huge", progress=False)
    with pytest.raises(ValueError, match="seed"):
        synthesize(tmp_path / "new", "tiny", seed=-1, progress=False)


def test_another_version_is_refused(tmp_path, monkeypatch):
    (tmp_path / "people.json").write_text(json.dumps({"version": "0.1", "size": "tiny", "seed": 0, "finished": True}))
    with pytest.raises(ValueError, match=re.escape(f"another version: expected {PEOPLE_VERSION}, found 0.1")):
        synthesize(tmp_path, "tiny", progress=False)
    assert settings_module.PEOPLE_VERSION == PEOPLE_VERSION


def test_a_full_disk_is_said_and_the_rest_made_later(tiny, tmp_path, monkeypatch):
    root, calls, original = tmp_path / "full", [], os.replace

    def full(source, target):
        calls.append(target)
        if len(calls) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFullError, match="Free some space"):
        synthesize(root, "tiny", seed=3, processes=1, progress=False)
    assert not (root / "people.json").exists()
    assert not [path for path in root.rglob(".*")]  # no unfinished file stays
    monkeypatch.undo()
    assert digest(synthesize(root, "tiny", seed=3, processes=1, progress=False)) == digest(tiny)


def test_dead_workers_are_replaced_by_this_process(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
    with pytest.warns(RuntimeWarning, match="could not be started"):
        root = synthesize(tmp_path / "alone", "tiny", seed=3, processes=2, progress=False)
    assert digest(root) == digest(tiny)


def test_a_worker_without_room_says_so(tmp_path, monkeypatch):
    def no_room(order, numbers, processes):
        yield 1
        raise WorkerError("no space left", full=True)

    monkeypatch.setattr(sys.modules[synthesize.__module__], "run_workers", no_room)
    with pytest.raises(DiskFullError, match="no space left"):
        synthesize(tmp_path / "full", "tiny", processes=2, progress=False)


def test_a_difficulty_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"occluder in \[0, 1\], got 2; colours in 6 \.\. 16, got 3"):
        dataclasses.replace(DIFFICULTY, occluder=2, colours=3)


def test_spread_sums_and_stays_within_its_limits():
    rng = np.random.default_rng(0)
    for total, places, low, high in ((3368, 750, 2, 6), (20, 10, 2, 6), (60, 10, 2, 6), (37, 10, 1, 9)):
        counts = spread(rng, total, places, low, high)
        assert (counts.sum(), len(counts)) == (total, places)
        assert low <= counts.min() <= counts.max() <= high
    with pytest.raises(ValueError, match="between 20 and 60"):
        spread(rng, 61, 10, 2, 6)


def test_contact_sheet_has_a_row_for_each_person(tiny):
    pids = sorted(read_attributes(tiny))[:3]
    sheet = contact_sheet(tiny, pids, cameras=(1, 2), zoom=2)
    assert sheet.size == ((64 * 2 + 2) * 2, (128 * 3 + 4) * 2)
    assert np.asarray(sheet).std() > 10
