"""Which images there will be: who is seen by which camera how often, and under which file name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .attributes import Person, draw_person, draw_population
from .cameras import CAMERAS
from .settings import Difficulty, PeopleSize

TRAIN, TEST, STRANGERS, PASSAGES, IMAGES, LAYOUT = range(1, 7)  # streams of random numbers
_FRAME_STEP = 25


@dataclass(frozen=True)
class Job:
    """One file to be made.

    Attributes:
        folder, name: where it goes; ``name`` without suffix.
        kind: "person", "distractor", "alarm" (a distractor without anybody) or "junk".
        person: who is in it; None for an alarm.
        stream, identity: what the passage's random numbers depend on, with the camera.
        camid: 1 .. 6.
        number: the image's number, unique in the data set.
    """

    folder: str
    name: str
    kind: str
    person: Person | None
    stream: int
    identity: int
    camid: int
    number: int


@dataclass(frozen=True)
class Plan:
    """All jobs, and the people in them: ``{pid: (person, split)}`` and ``{pid: (partner's pid, part)}``."""

    jobs: list[Job]
    people: dict[int, tuple[Person, str]]
    partners: dict[int, tuple[int, str]]


def make_plan(size: PeopleSize, seed: int, difficulty: Difficulty) -> Plan:
    """The whole data set on paper; the same for the same arguments."""
    rng = np.random.default_rng([seed, LAYOUT])
    pids = rng.permutation(size.train_ids + size.test_ids) + 1
    groups = {"train": pids[: size.train_ids], "test": pids[size.train_ids :]}
    people: dict[int, tuple[Person, str]] = {}
    partners: dict[int, tuple[int, str]] = {}
    for (split, numbers), stream in zip(groups.items(), (TRAIN, TEST), strict=True):
        drawn, pairs = draw_population(seed, stream, len(numbers), difficulty)
        people |= {int(pid): (person, split) for pid, person in zip(numbers, drawn, strict=True)}
        partners |= {int(numbers[i]): (int(numbers[j]), part) for i, (j, part) in pairs.items()}
    writer = _Writer(people)
    for (pid, camid), count in _sightings(rng, groups["train"], size.train_ids * 4, size.train_images):
        writer.person("bounding_box_train", pid, camid, count)
    sightings = _sightings(rng, groups["test"], size.queries, size.gallery)
    for (pid, camid), _ in sightings:
        writer.person("query", pid, camid, 1, detection=0)
    for (pid, camid), count in sightings:
        writer.person("bounding_box_test", pid, camid, count)
    writer.junk(rng, sightings, size.junk)
    writer.distractors(rng, seed, size.distractors, difficulty)
    return Plan(writer.jobs, people, partners)


def spread(rng: np.random.Generator, total: int, places: int, low: int, high: int) -> np.ndarray:
    """``places`` integers between ``low`` and ``high`` that sum to ``total``, drawn at random.

    Raises:
        ValueError: no such integers exist.
    """
    if not low * places <= total <= high * places:
        raise ValueError(
            f"expected a total between {low * places} and {high * places} for {places} places, got {total}"
        )
    counts = np.full(places, low)
    while (missing := total - int(counts.sum())) > 0:
        free = np.flatnonzero(counts < high)
        counts[rng.permutation(free)[:missing] if missing < len(free) else free[rng.random(len(free)) < 0.6]] += 1
    return counts


def _sightings(
    rng: np.random.Generator, pids: np.ndarray, passages: int, images: int
) -> list[tuple[tuple[int, int], int]]:
    """((pid, camera), number of images), at least two cameras for everybody, ``images`` in all."""
    passages = min(passages, images, len(pids) * len(CAMERAS))
    seen = []
    for pid, count in zip(sorted(pids.tolist()), spread(rng, passages, len(pids), 2, len(CAMERAS)), strict=True):
        seen += [(pid, int(camid)) for camid in np.sort(rng.permutation(len(CAMERAS))[:count]) + 1]
    counts = spread(rng, images, len(seen), 1, 4 + 2 * images // len(seen))
    return list(zip(seen, counts.tolist(), strict=True))


class _Writer:
    """Collects jobs and numbers them."""

    def __init__(self, people: dict[int, tuple[Person, str]]) -> None:
        self.people, self.jobs = people, []

    def add(
        self,
        folder: str,
        pid: int,
        kind: str,
        person: Person | None,
        stream: int,
        identity: int,
        camid: int,
        detection: int = 1,
    ) -> None:
        """One more file."""
        number = len(self.jobs)
        prefix = "-1" if pid < 0 else f"{pid:04d}"
        name = f"{prefix}_c{camid}s{1 + identity % 3}_{1 + number * _FRAME_STEP:06d}_{detection:02d}"
        self.jobs.append(Job(folder, name, kind, person, stream, identity, camid, number))

    def person(self, folder: str, pid: int, camid: int, count: int, detection: int = 1) -> None:
        """``count`` images of one person by one camera."""
        for _ in range(count):
            self.add(folder, pid, "person", self.people[pid][0], PASSAGES, pid, camid, detection)

    def junk(self, rng: np.random.Generator, sightings: list[tuple[tuple[int, int], int]], count: int) -> None:
        """Bad crops of test identities."""
        for i in rng.integers(0, len(sightings), count):
            pid, camid = sightings[int(i)][0]
            self.add("bounding_box_test", -1, "junk", self.people[pid][0], PASSAGES, pid, camid)

    def distractors(self, rng: np.random.Generator, seed: int, count: int, difficulty: Difficulty) -> None:
        """Strangers, each seen up to four times, and false alarms (two in five)."""
        alarms, stranger, left = int(count * 0.4), 0, count - int(count * 0.4)
        while left:
            person = draw_person(np.random.default_rng([seed, STRANGERS, stranger]), difficulty)
            for _ in range(min(left, int(rng.integers(1, 5)))):
                self.add("bounding_box_test", 0, "distractor", person, STRANGERS, stranger, int(rng.integers(1, 7)))
                left -= 1
            stranger += 1
        for alarm in range(alarms):
            self.add("bounding_box_test", 0, "alarm", None, STRANGERS, 10**6 + alarm, int(rng.integers(1, 7)))
