"""Patterns of cloth, and faces: which of a solid's colours a point of its surface has.

Each is a function of the azimuth ``psi`` (0 = front, positive towards the person's left), of ``t`` in [0, 1] along the
axis and of ``v``, the same in body heights; it returns classes 0, 1 or 2 (or booleans for 0 and 1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _checks(psi: np.ndarray, t: np.ndarray, v: np.ndarray) -> np.ndarray:
    return ((psi * 2.6) % 1.0 < 0.38) | ((v / 0.045) % 1.0 < 0.38)


def _dots(psi: np.ndarray, t: np.ndarray, v: np.ndarray) -> np.ndarray:
    row = np.floor(v / 0.042)
    return ((psi * 2.4 + 0.5 * (row % 2)) % 1.0 - 0.5) ** 2 + ((v / 0.042) % 1.0 - 0.5) ** 2 < 0.085


def _face(psi: np.ndarray, t: np.ndarray, v: np.ndarray, hairline: float, back: float, glasses: bool) -> np.ndarray:
    front = np.abs(psi)
    hair = (
        (t < hairline + 0.06 * np.cos(2.5 * psi)) | ((front > 1.25) & (t < back)) | ((front > 1.9) & (t < back + 0.15))
    )
    lens = (np.abs(t - 0.5) < 0.06) & (np.abs(front - 0.45) < 0.3)
    eyes = lens if glasses else (np.abs(t - 0.5) < 0.05) & (np.abs(front - 0.42) < 0.14)
    mouth = (np.abs(t - 0.79) < 0.03) & (front < 0.25)
    return np.where(hair, 1, np.where(eyes | mouth, 2, 0))


def _hood(psi: np.ndarray, t: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.where((t < 0.24) | (np.abs(psi) > 0.85) | (t > 0.9), 1, _face(psi, t, v, -1.0, 0.0, False))


_Pattern = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
PATTERNS: dict[str, _Pattern] = {
    "plain": lambda psi, t, v: np.zeros(len(t), np.intp),
    "hstripes": lambda psi, t, v: (v / 0.062) % 1.0 < 0.45,
    "vstripes": lambda psi, t, v: (psi * 2.8) % 1.0 < 0.36,
    "checks": _checks,
    "dots": _dots,
    "logo": lambda psi, t, v: (np.abs(psi) < 0.62) & (np.abs(t - 0.36) < 0.13),
    "block": lambda psi, t, v: t > 0.5,
    "open": lambda psi, t, v: np.abs(psi) < 0.42 - 0.12 * t,
    "zip": lambda psi, t, v: (np.abs(psi) < 0.09) | ((t < 0.16) & (np.abs(psi) < 1.2)),
    "striped": lambda psi, t, v: (v / 0.062) % 1.0 < 0.45,
    "sidestripe": lambda psi, t, v: np.abs(np.abs(psi) - np.pi / 2) < 0.42,
    "faded": lambda psi, t, v: (np.abs(psi) < 0.75) & ((t - 0.5) ** 2 + (psi / 1.6) ** 2 < 0.16),
    "hem": lambda psi, t, v: np.abs(t - 0.86) < 0.07,
    "panel": lambda psi, t, v: (t > 0.5) & (t < 0.9) & (np.cos(psi) < 0.3),
    "face": lambda psi, t, v: _face(psi, t, v, 0.3, 0.62, False),
    "face-glasses": lambda psi, t, v: _face(psi, t, v, 0.3, 0.62, True),
    "face-bald": lambda psi, t, v: _face(psi, t, v, -1.0, 0.0, False),
    "face-bald-glasses": lambda psi, t, v: _face(psi, t, v, -1.0, 0.0, True),
    "hood": _hood,
}
