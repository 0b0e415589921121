"""What a rebuilt house must not change: drawn people to the byte, losses, distances and one table to the digit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from . import pin

PINNED = json.loads(pin.FILE.read_text())
# float32 sums depend on the processor and on torch's kernels; where both are those of the pin, every digit counts
TOLERANCE = 1e-6 if pin.machine() == PINNED["machine"] else 2e-2


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return pin.measure(tmp_path_factory.mktemp("people"))


def test_drawn_people_are_the_same_to_the_byte(measured: dict[str, Any]) -> None:
    assert measured["people"] == PINNED["people"]


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
@pytest.mark.parametrize("variant", pin.VARIANTS)
def test_twenty_steps_have_the_same_losses(measured: dict[str, Any], variant: str, pooling: str) -> None:
    name = f"{pooling} {variant}"
    assert len(measured["losses"][name]) == len(PINNED["losses"][name])
    for row, pinned in zip(measured["losses"][name], PINNED["losses"][name], strict=True):
        assert row == pytest.approx(pinned, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("pooling", ["gap", "stripes"])
@pytest.mark.parametrize("kind", ["features", "attention", "sum"])
def test_shipped_networks_give_the_same_distances(measured: dict[str, Any], pooling: str, kind: str) -> None:
    pinned = PINNED["distances"][pooling]
    assert measured["distances"][pooling][kind] == pytest.approx(pinned[kind], rel=TOLERANCE, abs=TOLERANCE)
    assert measured["distances"][pooling]["table"][kind] == pytest.approx(pinned["table"][kind], rel=1e-3)
