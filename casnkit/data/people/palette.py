"""Colours of clothes, hair and skin, and how often they are worn."""

from __future__ import annotations

# name: (R, G, B); the order is the order in which Difficulty.colours takes them
PALETTE: dict[str, tuple[int, int, int]] = {
    "black": (34, 34, 38),
    "grey": (128, 130, 134),
    "navy": (38, 48, 88),
    "white": (228, 228, 224),
    "blue": (52, 96, 176),
    "red": (178, 40, 44),
    "beige": (196, 172, 134),
    "green": (48, 112, 66),
    "brown": (104, 70, 46),
    "pink": (222, 140, 164),
    "yellow": (226, 188, 60),
    "lightblue": (136, 178, 214),
    "purple": (106, 66, 134),
    "orange": (220, 116, 44),
    "darkgrey": (72, 74, 80),
    "olive": (98, 98, 56),
}
COMMON = (18, 11, 9, 11, 8, 7, 6, 5, 5, 5, 4, 5, 3, 3, 6, 4)  # of upper garments, one for each colour
DARK = (22, 11, 16, 5, 14, 2, 8, 2, 6, 1, 1, 4, 1, 1, 9, 5)  # of lower garments and bags
SHOES = (28, 8, 6, 22, 5, 5, 6, 2, 10, 3, 2, 1, 1, 2, 5, 1)

HAIR_COLOURS = {
    "black": (26, 22, 22),
    "darkbrown": (58, 38, 28),
    "brown": (98, 66, 42),
    "blond": (190, 152, 92),
    "grey": (150, 148, 146),
    "ginger": (150, 78, 40),
}
SKINS = {"light": (232, 190, 166), "medium": (206, 156, 124), "tan": (170, 118, 86), "dark": (108, 72, 54)}
