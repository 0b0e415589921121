"""What was measured of a point that the paper leaves open, as lines of text for the boxes of the notebooks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casnkit.data.files import read_json

from . import report
from .studies import OPEN_POINTS


def evidence(*points: str, folder: Path | None = None) -> list[str]:
    """One line for each value that was tried in the place of the default, out of ``figures/open-points.json``.

    Args:
        points: names out of ``OPEN_POINTS``, such as ``"ia_score"``; a point that was studied with a few
            others (``figures/open-points-POINT-POINT.json``) is read from there.
        folder: where the file lies; default: ``figures`` here, or beside the folder of the notebooks.

    Returns:
        The change of mAP in points with its 95 % interval, and what it says; where a point has not been measured, the
        command that measures it; last, on whom it was measured.

    Raises:
        ValueError: an unknown point; the closest is suggested.
    """
    for point in points:
        if point not in OPEN_POINTS:
            close = difflib.get_close_matches(point, OPEN_POINTS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(OPEN_POINTS)}"
            raise ValueError(f"there is no open point {point!r}: {hint}")
    lines, where = [], []
    for point in points:
        result = _study_of(point, folder)
        entries = [e for e in result["groups"] if e.get("point") == point] if result else []
        found = [_line(entry) for entry in entries if "mean_ap" in entry.get("differences", {})]
        lines += found or [f"{point}: not measured yet; casnkit ablate --study open-points --points {point}"]
        where += [_where(result)] if result and found else []
    return [*lines, *dict.fromkeys(where)]


def _study_of(point: str, folder: Path | None) -> Mapping[str, Any] | None:
    """A study of some points that names this one, where there is one, or that of all."""
    for place in report.places(folder):
        for file in sorted(place.glob("open-points-*.json")):
            if point in file.stem.split("-"):
                return read_json(file)
    return report.published("open-points", folder)


def _line(entry: Mapping[str, Any]) -> str:
    change = entry["differences"]["mean_ap"]
    if change["low"] is None:
        verdict = "one seed says nothing"
    else:
        verdict = "better" if change["low"] > 0 else "worse" if change["high"] < 0 else "undecided"
    seeds = f"{change['count']} seed{'s' if change['count'] > 1 else ''}"
    text = report.cell(change, sign=True).strip("*")
    return f"{report.model_name(entry)}, {report.short(entry['setting'])}: mAP {text} ({seeds}), {verdict}"


def _where(result: Mapping[str, Any]) -> str:
    data = result["data"]
    pooled = ", intervals by the spread of all settings" if result["pooled"] else ""
    base = result["groups"][0]["setting"].partition(" [")[2].rstrip("]")
    settings = f" with {base}" if base else ""
    return f"(against the default{settings}, on {data['identities']} {result['on']} people of {data['data']!r}{pooled})"
