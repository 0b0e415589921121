"""Data that is not the drawn people: what it lacks is said, not shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import casnkit as ck
from casnkit import evaluation
from casnkit.data import ReidDataset, Split, camera_text
from casnkit.data.check import EXPECTED, not_whole
from casnkit.data.imitate import imitate


def split_of(name: str, images: int, people: np.ndarray | None = None) -> Split:
    """Records without pictures: as many as asked for, of these people in turn."""
    people = np.array([1]) if people is None else people
    return Split([f"{i}.jpg" for i in range(images)], np.resize(people, images), np.ones(images), name)


@pytest.mark.parametrize(("junk", "whole"), [(0, True), (3819, True), (1, False)])
def test_market_is_whole_with_and_without_its_junk(tmp_path: Path, junk: int, whole: bool) -> None:
    counts = [EXPECTED["market1501"][f"{name} images"] for name in ("train", "query", "gallery")]
    splits = [split_of(*both) for both in zip(("train", "query", "gallery"), counts, strict=True)]
    splits[2] = splits[2].subset(np.arange(counts[2] - junk))
    assert (not_whole(ReidDataset("market1501", tmp_path, *splits)) == "") == whole


def test_a_toy_is_told_from_the_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ck.open_dataset(str(imitate("msmt17", tmp_path)))
    assert "16 train images instead of 32,621" in not_whole(toy)
    own = dataclasses.replace(toy, name="folder")
    assert not_whole(own) == "", "pictures of one's own are measured by nothing"


def test_cameras_in_words() -> None:
    assert [camera_text(3), camera_text(-1)] == ["camera 3", "camera unknown"]
    assert [camera_text(3, short=True), camera_text(-1, short=True)] == ["cam 3", "cam ?"]


def test_a_number_that_does_not_exist_is_a_dash() -> None:
    text = evaluation.table([{"rule": "a", "mAP": 1.0}, {"rule": "b", "mAP": float("nan")}])
    assert text.splitlines()[-1].split() == ["b", "-"]
