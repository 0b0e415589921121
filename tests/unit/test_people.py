"""The synthetic pedestrians: counts, same bytes, look-alikes, masks, resuming, bad folders."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scenes
from PIL import Image

from casnkit.data import people
from casnkit.data.files import DiskFullError
from casnkit.data.people import DIFFICULTY, PARTS, SIZES, look, lookalike_pairs, read_attributes, synthesize, write
from casnkit.data.people.body import draw_figure
from casnkit.data.people.paint import View
from casnkit.data.people.scene import CAMERAS, PAINTED, SCENE_HEIGHT

MARKET_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d_\d{6}_\d{2}\.jpg")
SPLITS = ("bounding_box_train", "query", "bounding_box_test")
draw_tiny = partial(synthesize, size="tiny", seed=3, processes=1, progress=False)


def digest(root: Path) -> dict[Path, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def differing_parts(one, other) -> set[str]:
    return {part for name, part in people.ATTRIBUTE_PART.items() if one[name] != other[name]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return draw_tiny(tmp_path_factory.mktemp("people") / "tiny")


def test_counts_names_and_sizes_are_those_of_the_plan(tiny):
    size, seen = SIZES["tiny"], {}
    for folder in SPLITS:
        matches = [MARKET_NAME.fullmatch(path.name) for path in (tiny / folder).iterdir()]
        assert all(matches)
        seen[folder] = [(int(m[1]), int(m[2])) for m in matches]
    train, query, gallery = seen.values()
    assert (len(train), len({pid for pid, _ in train})) == (size.train_images, size.train_ids)
    assert len(query) == size.queries == len(set(query))
    kinds = Counter(min(pid, 1) for pid, _ in gallery)
    assert kinds == {-1: size.junk, 0: size.distractors, 1: size.gallery}
    assert not {pid for pid, _ in train} & {pid for pid, _ in query}
    for pid, camid in query:  # a match from another camera for everybody
        assert any((pid, other) in gallery for other in CAMERAS if other != camid)
    names = {path.stem for folder in SPLITS for path in (tiny / folder).iterdir()}
    for kind in ("masks", "parts"):
        assert {path.stem for path in (tiny / kind).iterdir()} == names
    image = Image.open(next((tiny / "query").iterdir()))
    assert (image.size, image.mode) == ((64, 128), "RGB")


def test_market_has_exactly_market_1501s_counts():
    jobs, _ = look.make_plan(SIZES["market"], 0, DIFFICULTY)
    assert len({job.name for job in jobs}) == len(jobs)
    train, query, gallery = ([int(job.name.split("_")[0]) for job in jobs if job.folder == name] for name in SPLITS)
    assert (len(train), len(set(train))) == (12_936, 751)
    assert (len(query), len(set(query))) == (3_368, 750)
    assert Counter(min(pid, 1) for pid in gallery) == {1: 13_115, 0: 2_798, -1: 3_819}
    assert set(Counter(query).values()) == {2, 3, 4, 5, 6}  # cameras that see a person


def test_the_table_says_in_which_part_lookalikes_differ(tiny):
    table, pairs = read_attributes(tiny), lookalike_pairs(tiny)
    assert len({tuple(person[name] for name in people.ATTRIBUTE_PART) for person in table.values()}) == len(table)
    assert len(table) == SIZES["tiny"].train_ids + SIZES["tiny"].test_ids
    assert len(pairs) >= 3
    for one, other, part in pairs:
        assert differing_parts(table[one], table[other]) == {part} <= set(PARTS)
        assert table[one]["split"] == table[other]["split"]
        assert table[other]["lookalike_pid"] == str(one)


@pytest.mark.parametrize("start", range(12))
def test_lookalikes_pictures_differ_inside_the_named_part_alone(start):
    """Same pose, camera, light and folds: a pixel may differ only where one of the two shows the part."""
    rng = np.random.default_rng([7, start])
    visible = Counter()
    for _ in range(4):
        person = look.draw_person(rng, DIFFICULTY)
        double, part = look.draw_lookalike(rng, person, DIFFICULTY)
        assert differing_parts(person.attributes, double.attributes) == {part}
        for turn in (0.0, 1.6, 3.1, -1.3):
            view = View(turn, 0.15, 110.0, 32.0, 120.0, light=(0.8, 0.4, 0.75))
            (rgb, parts), (rgb_2, parts_2) = (
                draw_figure(who, view, np.random.default_rng([start, 5]), DIFFICULTY) for who in (person, double)
            )
            differs = (rgb != rgb_2).any(-1)
            owned = (parts == look.PART_INDEX[part]) | (parts_2 == look.PART_INDEX[part])
            assert not (differs & ~owned).any()
            visible[part] += int(differs.sum())
    assert all(count > 100 for count in visible.values())  # and it can be seen


def test_the_shipped_scenes_are_those_that_the_script_paints():
    with Image.open(PAINTED) as shipped:
        image, state = scenes.painted(3)
        assert np.array_equal(np.asarray(shipped)[2 * SCENE_HEIGHT : 3 * SCENE_HEIGHT], np.asarray(image))
        assert json.loads(shipped.text["grain"])[2] == state


@pytest.mark.parametrize("camid", CAMERAS)
def test_the_mask_is_where_the_image_shows_a_person(camid):
    """Dye the clothes otherwise: the pixels that change are those of the part map, wherever the box was put."""
    plain = replace(DIFFICULTY, noise=0.0, blur=0.0, occluder=0.0, bad_crop=1.0, light=0.0, tint=0.0)
    for number in range(6):
        person = look.draw_person(np.random.default_rng([camid, number]), plain)
        same = {**person.attributes, "upper_pattern": "plain", "lower_pattern": "plain", "lower": "trousers"}
        dyed = [name for name, value in same.items() if "_colour" in name and name != "hair_colour" and value != "none"]
        two = [look.Person({**same, **dict.fromkeys(dyed, colour)}, 5) for colour in ("black", "yellow")]
        (black, parts, _), (yellow, parts_2, _) = (
            write.draw(look.Job("query", 1, person, 1, camid, number), 9, plain) for person in two
        )
        changed = np.abs(np.asarray(black, float) - np.asarray(yellow, float)).sum(-1) > 30
        assert (parts == parts_2).all()
        grown = np.lib.stride_tricks.sliding_window_view(np.pad(parts > 0, 1), (3, 3)).any((-1, -2))
        assert not (changed & ~grown).any()
        cloth = np.isin(parts, [look.PART_INDEX[part] for part in ("torso", "legs", "shoes")])
        assert (changed & cloth).sum() > 0.85 * cloth.sum()


def test_masks_are_the_part_maps_support_and_heads_are_up(tiny):
    covered, heights = [], []
    for path in (tiny / "query").iterdir():
        mask, parts = (np.asarray(Image.open(tiny / kind / f"{path.stem}.png")) for kind in ("masks", "parts"))
        assert (mask == 255 * (parts > 0)).all()
        covered.append((mask > 0).mean())
        heights.append([np.nonzero(parts == look.PART_INDEX[name])[0] for name in ("face", "torso", "legs", "shoes")])
    assert 0.1 < np.mean(covered) < 0.5
    means = [np.concatenate(rows).mean() for rows in zip(*heights, strict=True)]
    assert means == sorted(means)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_an_interrupted_generation_is_completed_and_never_taken_for_whole(tiny, tmp_path, monkeypatch, stop):
    root, calls, original = tmp_path / "part", [], os.replace

    def stops_after_a_while(source, target):
        if len(calls) == 40:
            raise stop
        calls.append(target)
        original(source, target)

    monkeypatch.setattr(os, "replace", stops_after_a_while)
    with pytest.raises((KeyboardInterrupt, DiskFullError)):
        draw_tiny(root)
    monkeypatch.undo()
    assert not (root / "people.json").exists()
    assert (root / "people.part.json").exists()
    assert not list(root.rglob(".*"))  # no unfinished file stays
    with pytest.raises(ValueError, match=r"attributes\.csv"):
        read_attributes(root)
    kept = {path: when for path, when in times(root).items() if path.suffix == ".jpg"}
    (root / "masks" / ".left.123.part").write_bytes(b"half")  # but of a killed process one may
    assert digest(draw_tiny(root)) == digest(tiny)
    assert len(kept) > 10
    assert kept.items() <= times(root).items()  # nothing was drawn twice
    before = times(root)
    assert times(draw_tiny(root)) == before  # a whole data set is left alone, a damaged one mended
    next((root / "query").iterdir()).unlink()
    assert digest(draw_tiny(root)) == digest(tiny)


WRONG = [({"seed": 5}, r"another seed: expected 5, found 3.*delete that folder or choose another")]
WRONG += [({"size": "quick"}, "another size"), ({"difficulty": replace(DIFFICULTY, noise=0.5)}, "another difficulty")]
WRONG += [({"size": "huge"}, "expected a size among tiny, quick, market"), ({"seed": -1}, "seed")]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_arguments_are_refused(tiny, changes, message):
    before = times(tiny)
    with pytest.raises(ValueError, match=message):
        draw_tiny(tiny, **changes)
    assert times(tiny) == before


def test_other_folders_and_difficulties_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"occluder in \[0, 1\], got 2"):
        replace(DIFFICULTY, occluder=2)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"to be empty.*notes.txt"):
        draw_tiny(tmp_path)
    with pytest.raises(ValueError, match="found a file"):
        draw_tiny(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "notes.txt").rename(tmp_path / "people.json").write_text('{"version": "0.1", "size": "tiny"}')
    with pytest.raises(ValueError, match=re.escape(f"another version: expected {people.PEOPLE_VERSION}, found 0.1")):
        draw_tiny(tmp_path)


def test_two_processes_of_a_script_without_a_guard_give_the_same_bytes(tiny, tmp_path):
    script, environment = tmp_path / "script.py", {**os.environ, "PYTHONPATH": str(Path(people.__file__).parents[3])}
    call = f"synthesize({str(tmp_path / 'two')!r}, 'tiny', seed=3, processes=2, progress=False)"
    script.write_text(f"from casnkit.data.people import synthesize\nprint('start')\n{call}\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "start\n", "")
    assert digest(tmp_path / "two") == digest(tiny)


def only_here(here, failure, make, *args, **options):
    """``make``, but in another process than ``here`` an error, or the process's end."""
    if os.getpid() == here:
        return make(*args, **options)
    if failure is None:
        os._exit(3)
    raise failure


def test_dead_workers_are_replaced_and_a_full_disk_is_told(tiny, tmp_path, monkeypatch):
    make = write._make
    monkeypatch.setattr(write, "_make", partial(only_here, os.getpid(), None, make))
    with pytest.warns(RuntimeWarning, match="drawing the remaining people in this process"):
        assert digest(draw_tiny(tmp_path / "alone", processes=2)) == digest(tiny)
    monkeypatch.setattr(write, "_make", partial(only_here, os.getpid(), DiskFullError("no space left"), make))
    with pytest.raises(DiskFullError, match="no space left"):
        draw_tiny(tmp_path / "full", processes=2)
    assert not (tmp_path / "full" / "people.json").exists()
