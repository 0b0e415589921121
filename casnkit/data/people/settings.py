"""How many pictures *people* has and how hard they are: the only numbers that tuning may touch.

Any change here, or in what is drawn, changes every result: raise :data:`PEOPLE_VERSION` with it.
"""

from __future__ import annotations

from dataclasses import dataclass

PEOPLE_VERSION = "1.0"

WIDTH, HEIGHT = 64, 128  # of every image, in pixels, as in Market-1501

PARTS: tuple[str, ...] = ("hair", "face", "torso", "arms", "bag", "legs", "shoes")
"""Body parts; ``PARTS[i]`` has the index ``i + 1`` in a part map, 0 is background. A hat or hood counts as hair."""


@dataclass(frozen=True)
class PeopleSize:
    """How many identities and files one size has.

    Attributes:
        train_ids, train_images: identities and images in ``bounding_box_train``.
        test_ids: identities in ``query`` and ``bounding_box_test``; none of them is in training.
        queries: images in ``query``, one for each (identity, camera) in which the identity was seen.
        gallery: images of the test identities in ``bounding_box_test``, at least one for each query.
        distractors, junk: further files there, with pid 0 (other people, false alarms) and -1 (bad crops).
    """

    train_ids: int
    train_images: int
    test_ids: int
    queries: int
    gallery: int
    distractors: int
    junk: int

    @property
    def images(self) -> int:
        """All files together."""
        return self.train_images + self.queries + self.gallery + self.distractors + self.junk


SIZES: dict[str, PeopleSize] = {
    "tiny": PeopleSize(12, 72, 10, 24, 48, 8, 8),
    "quick": PeopleSize(150, 1500, 100, 300, 780, 110, 110),
    "market": PeopleSize(751, 12_936, 750, 3_368, 13_115, 2_798, 3_819),
}


@dataclass(frozen=True)
class Difficulty:
    """Everything that makes *people* easier or harder, one number each; larger is harder unless said otherwise.

    The defaults were set by the baseline alone, trained at ``quick`` from random weights, before methods were compared.

    Attributes:
        lookalike_share: share of identities that come in pairs differing in exactly one body part, in [0, 1].
        colours: how many of the palette's colours clothes are made of, most common first; fewer is harder.
        tint: standard deviation (0-255) by which one person's garment departs from its palette colour; LESS is harder.
        camera: strength of the cameras' colour response and exposure; 0 = all cameras alike, 1 = as designed.
        exposure: standard deviation of an image's own exposure, in stops.
        light: strength of shading from one side, in [0, 1].
        view: spread of the viewpoint around the camera's habitual one, in radians.
        pose: amplitude of the gait and of arm poses; 1 = brisk walk.
        crop: standard deviation of the detector's box, as a fraction of the person's height.
        bad_crop: probability of a clearly wrong box (cut feet, much sky, off-centre).
        occluder: probability that something or somebody stands in front.
        blur: factor of the cameras' own blur.
        noise: factor of the cameras' own sensor noise.
        jpeg: lowest JPEG quality; LESS is harder.
        jitter: standard deviation (0-255) of a garment's colour from image to image.
    """

    lookalike_share: float = 0.25
    colours: int = 12
    tint: float = 18.0
    camera: float = 0.55
    exposure: float = 0.1
    light: float = 0.8
    view: float = 0.35
    pose: float = 1.0
    crop: float = 0.018
    bad_crop: float = 0.08
    occluder: float = 0.08
    blur: float = 0.6
    noise: float = 0.6
    jpeg: int = 55
    jitter: float = 3.0

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("lookalike_share", "bad_crop", "occluder")}
        wrong = [f"{name} in [0, 1], got {value}" for name, value in shares.items() if not 0 <= value <= 1]
        if not 6 <= self.colours <= 16:
            wrong.append(f"colours in 6 .. 16, got {self.colours}")
        if not 1 <= self.jpeg <= 92:
            wrong.append(f"jpeg in 1 .. 92, got {self.jpeg}")
        if wrong:
            raise ValueError(f"expected a Difficulty with {'; '.join(wrong)}")


DIFFICULTY = Difficulty()
