"""From the desk to pictures and sentences: what each row of the pair view shows, and how it is said in words."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..data.records import UNKNOWN_CAMERA
from . import pairs, tiles
from .desk import Desk
from .pairs import Pair
from .rankings import Tile
from .render import Look, PairPicture
from .style import BLUE, INK, ORANGE


def picture(desk: Desk, j: int | None = None, model: str = "", randomised: bool = False) -> PairPicture:
    """One row of the pair view: the query and a gallery image (default: the chosen one)."""
    state, j = desk.current, desk.gallery if j is None else j
    pair, ranking = desk.pair(j, model), desk.ranking(model=model)
    maps = desk.maps(state.query, j, model, randomised) if randomised else pair.maps
    tile = ranking.tile(j)
    rank = f"rank {tile.position}" if tile.position else "not counted"
    titles = (
        f"query {state.query} · person {ranking.pid} · {camera(ranking.camid, 'cam')}",
        f"gallery {j} · {rank} · person {tile.pid} · {camera(tile.camid, 'cam')}",
    )
    heading = desk.network(model).name + (" · random weights" if randomised else "")
    mark = ("", INK, "the same architecture, weights drawn at random") if randomised else verdict(pair)
    images = desk.library.query.array(state.query), desk.library.gallery.array(j)
    return _with_maps(desk, PairPicture(images, maps, titles, heading, mark, None, None), maps)


def pictures(desk: Desk) -> list[tuple[PairPicture, Pair | None]]:
    """The rows of the pair view with their numbers: the chosen image, the pinned one, another network, random weights."""
    state, rows = desk.current, [(picture(desk), desk.pair())]
    if state.pinned is not None and state.pinned != desk.gallery:
        pinned = dataclasses.replace(picture(desk, state.pinned), heading=f"{state.model} · pinned ◆")
        rows.append((pinned, desk.pair(state.pinned)))
    if state.other and state.other != state.model:
        rows.append((picture(desk, model=state.other), desk.pair(model=state.other)))
    if state.random_weights:
        rows.append((picture(desk, randomised=True), None))
    return rows


def figure_8(desk: Desk) -> list[tuple[PairPicture, Pair]]:
    """The paper's figure 8 for the query: (a) its nearest wrong image, (b) its nearest true match.

    Raises:
        ValueError: it has neither.
    """
    ranking, found = desk.ranking(), []
    for letter, status, words in (("a", "wrong", "nearest wrong image"), ("b", "correct", "nearest true match")):
        j = ranking.first_of(status)
        if j is not None:
            found.append((dataclasses.replace(picture(desk, j), heading=f"({letter}) {words}"), desk.pair(j)))
    if not found:
        raise ValueError("no gallery image counts for this query: there is nothing to show")
    return found


def edited_picture(desk: Desk) -> PairPicture:
    """The row of the chosen pair after the edit of the state. Raises ValueError where nothing is hidden."""
    outcome, before = desk.outcome(), picture(desk)
    place = 0 if desk.current.edit.side == "query" else 1
    images = list(before.images)
    images[place] = outcome.image
    judged = dataclasses.replace(desk.pair(), probability=outcome.found.probability[1])
    first, rank = outcome.found.position
    titles = (before.titles[0], before.titles[1].replace(f"rank {first} ", f"rank {first} → {rank} ", 1))
    after = dataclasses.replace(before, images=tuple(images), heading="after", mark=verdict(judged), titles=titles)
    return _with_maps(desk, after, outcome.maps)


def look(desk: Desk) -> Look:
    """How the state wants maps to be drawn."""
    state = desk.current
    return Look(state.colours, state.opacity, state.threshold, state.normalisation)


def thumbnail(desk: Desk, tile: Tile, height: float) -> bytes:
    """A tile of the list as PNG."""
    chosen, pinned = tile.gallery == desk.gallery, tile.gallery == desk.current.pinned
    key = (tile.gallery, tile.status, height, chosen, pinned)
    pixels = desk.library.gallery.array
    return desk.images.get(key, lambda: tiles.thumbnail(pixels(tile.gallery), tile.status, height, chosen, pinned))


def camera(camid: int, word: str = "camera") -> str:
    """``camera 3``, or that it is unknown."""
    return f"{word} unknown" if camid == UNKNOWN_CAMERA else f"{word} {camid}"


def verdict(pair: Pair) -> tuple[str, str, str]:
    """Glyph, colour and words: what the pair classifier says, and the truth."""
    if not pair.judges:
        truth = {
            None: "one of them has no identity",
            True: "they are the same person",
            False: "they are different people",
        }
        return "", INK, f"the pair classifier was not trained: it judges nothing; {truth[pair.same]}"
    judged = pair.probability >= 0.5
    words = f"p(same person) = {pair.probability:.2f}, so judged {'the same' if judged else 'different'}"
    if pair.same is None:
        return "", INK, f"{words}; one of them has no identity"
    truth = "they are the same person" if pair.same else "they are different people"
    right = judged == pair.same
    return ("✓", BLUE, f"{words}; {truth}") if right else ("✗", ORANGE, f"{words}; {truth}")


def described(row: PairPicture) -> str:
    """A row of the pair's picture in words, for those who cannot see it."""
    kept = ", ".join(
        f"{first + 1} to {last + 1} in the {name}"
        for name, (first, last) in zip(("query", "gallery image"), row.rows.bounds, strict=True)
    )
    return (
        f"{row.heading}: {row.titles[0]} beside {row.titles[1]}; {row.mark[2]}; rows above t: {kept}; "
        f"distance of the aligned rows {row.rows.distance:.3f}"
    )


def numbers_line(pair: Pair) -> str:
    """Distances and the fused score, with each term."""
    text = f"feature distance {pair.feature:.4f}, attention distance {pair.attention:.4f}"
    if pair.fused is None:
        return text
    terms = " + ".join(f"{weight:g} × {value:.4f} ({name})" for name, (value, weight) in pair.terms.items())
    return f"{text}; fused score {pair.fused:.4f} = {terms}; lower is closer"


def _with_maps(desk: Desk, row: PairPicture, maps: tuple[np.ndarray, np.ndarray]) -> PairPicture:
    """The row with these maps (their positive part) and what follows from them."""
    positive, t = tuple(np.maximum(m, 0) for m in maps), desk.current.threshold
    return dataclasses.replace(
        row, maps=positive, rows=pairs.rows_of(positive, t), agreement=pairs.agreement(positive, t)
    )
