"""Who the people are: how many, how hard to tell apart, each one's attributes, and which camera sees whom how often.

Colours follow what streets look like, so that many people share an attribute and only the combination tells them apart.
"""

import json
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

PEOPLE_VERSION = "1.0"  # any change of what is drawn changes every result: raise it then

WIDTH, HEIGHT = 64, 128  # of every image, in pixels, as in Market-1501

PARTS = ("hair", "face", "torso", "arms", "bag", "legs", "shoes")
"""Body parts; ``PARTS[i]`` has the index ``i + 1`` in a part map, 0 is background. A hat or hood counts as hair."""

PART_INDEX = {name: number for number, name in enumerate(PARTS, start=1)}
CAMERA_COUNT = 6
Rng = np.random.Generator
_TRAIN, _TEST, STRANGERS, PASSAGES, IMAGES, _LAYOUT = range(1, 7)  # streams of random numbers


# identities and images in training; other identities in query and gallery; images in query, one for each (identity, camera)
# in which an identity was seen; their images in the gallery, at least one for each query; further files there with pid 0
# (other people, false alarms) and with pid -1 (bad crops)
PeopleSize = namedtuple("PeopleSize", "train_ids train_images test_ids queries gallery distractors junk")
SIZES = {
    "tiny": PeopleSize(12, 72, 10, 24, 48, 8, 8),
    "quick": PeopleSize(150, 1500, 100, 300, 780, 110, 110),
    "market": PeopleSize(751, 12_936, 750, 3_368, 13_115, 2_798, 3_819),
}


@dataclass(frozen=True)
class Difficulty:
    """Everything that makes *people* easier or harder, one number each; larger is harder unless said otherwise.

    The defaults were set by the baseline alone, trained at ``quick`` from random weights, before methods were compared.
    """

    lookalike_share: float = 0.25  # share of identities in pairs that differ in exactly one body part, in [0, 1]
    colours: int = 12  # how many of the palette's colours clothes are made of, most common first; FEWER is harder
    tint: float = 18.0  # deviation (0-255) of one person's garment from its palette colour; LESS is harder
    camera: float = 0.55  # strength of the cameras' colour response and exposure; 0 = all alike, 1 = as designed
    exposure: float = 0.1  # standard deviation of an image's own exposure, in stops
    light: float = 0.8  # strength of shading from one side, in [0, 1]
    view: float = 0.35  # spread of the viewpoint around the camera's habitual one, in radians
    pose: float = 1.0  # amplitude of the gait and of arm poses; 1 = brisk walk
    crop: float = 0.018  # standard deviation of the detector's box, as a fraction of the person's height
    bad_crop: float = 0.08  # probability of a clearly wrong box (cut feet, much sky, off-centre)
    occluder: float = 0.08  # probability that something or somebody stands in front
    blur: float = 0.6  # factor of the cameras' own blur
    noise: float = 0.6  # factor of the cameras' own sensor noise
    jpeg: int = 55  # lowest JPEG quality; LESS is harder
    jitter: float = 3.0  # standard deviation (0-255) of a garment's colour from image to image

    def __post_init__(self) -> None:
        share = (0, 1)
        limits = {"lookalike_share": share, "bad_crop": share, "occluder": share, "colours": (6, 16), "jpeg": (1, 92)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"expected a Difficulty with {name} in [{low}, {high}], got {getattr(self, name)}")


DIFFICULTY = Difficulty()


# Tables: names of colours (rrggbb; those of clothes in the order in which Difficulty.colours takes them), what is worn how
# often, each attribute's body part, measures of bodies and clothes in body heights, and the cameras.
LOOKS = json.loads(Path(__file__).with_name("looks.json").read_text(encoding="utf-8"))


def palette(table: str) -> dict[str, tuple[int, ...]]:
    """RGB by name."""
    return {name: tuple(bytes.fromhex(code)) for name, code in LOOKS[table].items()}


PALETTE = palette("colours")
ATTRIBUTE_PART = {name: part for part, names in LOOKS["attributes"].items() for name in names}
"""The part of each attribute; ``"body"`` marks those of the whole figure, which look-alikes always share."""

_HOODED = ("hoodie", "jacket", "coat")
_RECOLOURED = {"torso": "upper_colour", "arms": "sleeve_colour", "legs": "lower_colour", "shoes": "shoe_colour"}


# attributes by name, and a number that fixes body details and the exact dye of each garment; look-alikes share it
Person = namedtuple("Person", "attributes look")


def _pick(rng: Rng, choices: Mapping[str, float]) -> str:
    weights = np.fromiter(choices.values(), dtype=float)
    return list(choices)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _colour(rng: Rng, colours: int, garment: str, unlike: str | None = None) -> str:
    """One of the palette's first ``colours``, as often as the garment has it, clearly ``unlike`` another one."""
    weights = dict(list(LOOKS["worn"][garment].items())[:colours])
    if unlike is not None:  # told apart at a glance
        steps = {name: np.linalg.norm(np.subtract(PALETTE[name], PALETTE[unlike])) for name in weights}
        weights = {name: weight for name, weight in weights.items() if steps[name] > 85}
    return _pick(rng, weights)


def draw_person(rng: Rng, difficulty: Difficulty) -> Person:
    """Draw one person's attributes."""
    colour = partial(_colour, rng, difficulty.colours)
    a = {name: _pick(rng, choices) for name, choices in LOOKS["choices"].items()}
    a["hair"] = _pick(rng, LOOKS["hair_of_frame"][a["frame"]])
    if a["frame"] == "female":
        a["lower"] = _pick(rng, LOOKS["lower_of_frame"]["female"])
    if a["hat"] == "hood" and a["upper"] not in _HOODED:
        a["hat"] = "none"
    if a["upper"] == "coat" and a["lower"] in ("skirt", "shorts"):  # would be hidden
        a["lower"] = "trousers"
    if a["lower"] in ("skirt", "longskirt"):
        a["lower_pattern"] = "hem" if a["lower_pattern"] == "faded" else "plain"
    a["hat_colour"] = colour("upper") if a["hat"] != "none" else "none"
    a["upper_colour"] = colour("upper")
    a["upper_pattern"] = _pick(rng, LOOKS["patterns"][a["upper"]])
    a["upper_second"] = colour("upper", a["upper_colour"]) if a["upper_pattern"] != "plain" else "none"
    a["sleeves"] = _pick(rng, LOOKS["sleeves"].get(a["upper"], {"long": 1}))
    contrast = rng.random() < 0.15
    a["sleeve_colour"] = colour("upper", a["upper_colour"]) if contrast else a["upper_colour"]
    a["sleeve_pattern"] = "striped" if a["upper_pattern"] == "hstripes" and not contrast else "plain"
    a["sleeve_second"] = a["upper_second"] if a["sleeve_pattern"] == "striped" else "none"
    a["lower_colour"] = colour("lower")
    a["bag_colour"] = colour("lower") if a["bag"] != "none" else "none"
    a["bag_side"] = {"none": "none", "backpack": "both"}.get(a["bag"], a["bag_side"])
    a["shoe_colour"] = colour("shoe")
    return Person({name: a[name] for name in ATTRIBUTE_PART}, int(rng.integers(2**31)))


def draw_lookalike(rng: Rng, person: Person, difficulty: Difficulty) -> tuple[Person, str]:
    """Somebody who differs from ``person`` in exactly one body part, clearly, and that part's name."""
    part = _pick(rng, LOOKS["lookalike_parts"])
    choices = LOOKS["choices"]
    a, colour = dict(person.attributes), partial(_colour, rng, difficulty.colours)
    if part in _RECOLOURED:
        name = _RECOLOURED[part]
        a[name] = colour({"legs": "lower", "shoes": "shoe"}.get(part, "upper"), a[name])
    if part == "torso" and a["upper_pattern"] != "plain":  # a shared second colour must still stand out
        a["upper_second"] = colour("upper", a["upper_colour"])
    elif part == "arms":
        bare = a["sleeves"] == "none"
        a |= {"sleeve_pattern": "plain", "sleeve_second": "none", "sleeves": "short" if bare else a["sleeves"]}
    elif part == "hair" and a["hat"] != "none":
        a["hat_colour"] = colour("upper", a["hat_colour"])
    elif part == "hair" and rng.random() < 0.5:
        unfit = ("none",) if a["upper"] in _HOODED else ("none", "hood")
        a["hat"] = _pick(rng, {name: weight for name, weight in choices["hat"].items() if name not in unfit})
        names = [name for name in list(PALETTE)[: difficulty.colours] if name not in ("black", "brown", "grey")]
        a["hat_colour"] = _pick(rng, dict.fromkeys(names, 1.0))
    elif part == "hair":
        dark = a["hair_colour"] in ("black", "darkbrown", "brown")
        a["hair_colour"] = _pick(rng, {"blond": 2, "grey": 1, "ginger": 1} if dark else {"black": 1, "darkbrown": 1})
        a["hair"] = "short" if a["hair"] == "bald" else a["hair"]
    elif part == "bag" and a["bag"] != "none" and rng.random() < 0.5:
        a["bag_colour"] = colour("upper", a["bag_colour"])
    elif part == "bag" and a["bag"] != "none" and rng.random() < 0.6:
        a["bag"] = a["bag_colour"] = a["bag_side"] = "none"
    elif part == "bag":
        a["bag"] = _pick(rng, {name: n for name, n in choices["bag"].items() if name not in (a["bag"], "none")})
        a["bag_colour"] = colour("upper", a["upper_colour"])
        a["bag_side"] = "both" if a["bag"] == "backpack" else _pick(rng, choices["bag_side"])
    return Person(a, person.look), part


def _draw_population(seed: int, stream: int, size: int, difficulty: Difficulty) -> list[tuple[Person, str]]:
    """People with different attributes, the first ones in pairs of look-alikes: each with the part that differs, or ""."""
    people: list[tuple[Person, str]] = []
    paired = round(size * difficulty.lookalike_share / 2) * 2
    for index in range(size):
        double = index < paired and index % 2
        for attempt in count():  # until nobody else has the same attributes
            rng = np.random.default_rng([seed, stream, index, attempt])
            one = draw_lookalike(rng, people[-1][0], difficulty) if double else (draw_person(rng, difficulty), "")
            if all(one[0].attributes != other.attributes for other, _ in people):
                break
        if double:
            people[-1] = (people[-1][0], one[1])
        people.append(one)
    return people


class Job(namedtuple("Job", "folder pid person identity camid number")):
    """One image to be made, of a person or of a false alarm (None).

    ``pid`` is that of the file's name: 0 for a distractor, -1 for a bad crop. The passage's random numbers depend on
    ``identity`` and ``camid`` (1 .. 6); ``number`` is unique in the data set.
    """

    @property
    def name(self) -> str:
        """The file's name without suffix, as Market-1501 writes it."""
        pid, detection = "-1" if self.pid < 0 else f"{self.pid:04d}", int(self.folder != "query")
        return f"{pid}_c{self.camid}s{1 + self.identity % 3}_{1 + 25 * self.number:06d}_{detection:02d}"


def make_plan(size: PeopleSize, seed: int, difficulty: Difficulty) -> tuple[list[Job], list[list]]:
    """Who is seen by which camera how often, and the rows of attributes.csv, the header first."""
    rng = np.random.default_rng([seed, _LAYOUT])
    pids = (rng.permutation(size.train_ids + size.test_ids) + 1).tolist()
    train, test = pids[: size.train_ids], pids[size.train_ids :]
    people: dict[int, Person] = {}
    rows = []
    for split, numbers, stream in (("train", train, _TRAIN), ("test", test, _TEST)):
        drawn = _draw_population(seed, stream, len(numbers), difficulty)
        for index, (pid, (person, part)) in enumerate(zip(numbers, drawn, strict=True)):
            people[pid] = person
            partner = numbers[index ^ 1] if part else ""  # look-alikes stand side by side
            rows.append([pid, split, *person.attributes.values(), partner, part])
    _, seen = _sightings(rng, train, size.train_ids * 4, size.train_images)
    jobs = [("bounding_box_train", pid, people[pid], pid, camid) for pid, camid in seen]
    queries, seen = _sightings(rng, test, size.queries, size.gallery)
    jobs += [("query", pid, people[pid], pid, camid) for pid, camid in queries]
    jobs += [("bounding_box_test", pid, people[pid], pid, camid) for pid, camid in seen]
    junk = [queries[i] for i in rng.integers(0, len(queries), size.junk)]
    jobs += [("bounding_box_test", -1, people[pid], pid, camid) for pid, camid in junk]
    jobs += [("bounding_box_test", 0, *one) for one in _distractors(rng, seed, size.distractors, difficulty)]
    header = ["pid", "split", *ATTRIBUTE_PART, "lookalike_pid", "differs_in"]
    return [Job(*job, number) for number, job in enumerate(jobs)], [header, *sorted(rows)]


def _spread(rng: Rng, total: int, places: int, low: int, high: int) -> np.ndarray:
    """``places`` integers between ``low`` and ``high`` that sum to ``total``, drawn at random."""
    counts = np.full(places, low)
    while (missing := total - int(counts.sum())) > 0:
        free = np.flatnonzero(counts < high)
        counts[rng.permutation(free)[:missing] if missing < len(free) else free[rng.random(len(free)) < 0.6]] += 1
    return counts


def _sightings(rng: Rng, pids: list[int], passages: int, images: int) -> tuple[list, list]:
    """All passages (pid, camera), at least two for everybody; and the same once for each of the images."""
    seen = []
    for pid, cameras in zip(sorted(pids), _spread(rng, passages, len(pids), 2, CAMERA_COUNT), strict=True):
        seen += [(pid, camid) for camid in sorted((rng.permutation(CAMERA_COUNT)[:cameras] + 1).tolist())]
    counts = _spread(rng, images, len(seen), 1, 4 + 2 * images // len(seen))
    return seen, [passage for passage, count in zip(seen, counts, strict=True) for _ in range(count)]


def _distractors(rng: Rng, seed: int, count: int, difficulty: Difficulty) -> list[tuple]:
    """Strangers, each seen up to four times, and false alarms (two in five): who, the passage's number, camera."""
    alarms = int(count * 0.4)
    seen, stranger, left = [], 0, count - alarms
    while left:
        person = draw_person(np.random.default_rng([seed, STRANGERS, stranger]), difficulty)
        times = min(left, int(rng.integers(1, 5)))
        seen += [(person, stranger, int(rng.integers(1, 7))) for _ in range(times)]
        stranger, left = stranger + 1, left - times
    return seen + [(None, 10**6 + alarm, int(rng.integers(1, 7))) for alarm in range(alarms)]
