"""The view as plain values, and a page that holds it: what travels is what was given, and nothing else can run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from casnkit.__main__ import main
from casnkit.inspector import page, payload, telling

HOSTILE = '</script><script>alert(1)</script> "q" \u202e \udc80'


def small_pair(**fields: Any) -> dict[str, Any]:
    sides = payload.picture(Image.new("RGB", (8, 16)), name=HOSTILE), payload.picture(None)
    return payload.pair(*sides, "right", [payload.method("m", HOSTILE, [np.ones((2, 1)), np.zeros((2, 1))])], **fields)


def data_of(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="view">(.*?)</script>', text, re.S)[1])


def test_a_matrix_travels_as_whole_numbers() -> None:
    matrix = np.random.default_rng(0).normal(size=(6, 4))
    found = payload.correspondence(matrix, [(3, 2), (2, 2)], 2.0)
    back = np.frombuffer(base64.b64decode(found["values"]), "<i2").reshape(6, 4) * found["scale"]
    np.testing.assert_allclose(back, matrix, atol=np.abs(matrix).max() / 2**16)
    cells = [(i, j) for i in range(6) for j in range(4) if matrix[i, j] == matrix[i].max() == matrix[:, j].max()]
    slow = [cell for cell in cells if matrix[cell] > 0]
    assert sorted((i, j) for i, j, _ in found["mutual"]) == slow
    shares = [share for *_, share in found["mutual"]]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(max(matrix[cell] for cell in slow) / 2, rel=1e-3)


def test_what_is_said_of_empty_maps_unread_pictures_and_untrained_classifiers() -> None:
    pair = small_pair(judges=False, verdict="p = 0.5")
    assert pair["verdict"] == payload.UNTRAINED
    assert "gallery picture is 0" in pair["methods"][0]["note"]
    assert pair["gallery"]["error"]
    with pytest.raises(ValueError, match="status"):
        payload.tile(None, "correct")
    with pytest.raises(ValueError, match="finite matrix"):
        payload.correspondence(np.full((6, 4), np.nan), [(3, 2), (2, 2)], 1.0)


def test_a_page_runs_only_its_own_module(tmp_path: Path) -> None:
    view = {"pairs": [{"status": "right", "name": HOSTILE, "pair": small_pair()}]}
    text = page.write_page(tmp_path / "a.html", view, HOSTILE, HOSTILE).read_text(encoding="utf-8")
    assert len(re.findall("<script", text)) == 2  # the data and the module: none of the names'
    assert data_of(text)["pairs"][0]["name"] == HOSTILE
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    parts = {"script": r'<script type="module">(.*?)</script>', "style": "<style>(.*?)</style>"}
    for kind, pattern in parts.items():
        digest = hashlib.sha256(re.search(pattern, text, re.S)[1].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not re.search(r"""(src|href)=["'](?!data:)|https?://|url\(""", text)


@pytest.mark.parametrize(
    ("count", "name", "said"), [(0, "a.html", "1 to 50"), (51, "a.html", "1 to 50"), (1, "a.txt", "html")]
)
def test_a_page_that_cannot_be_leaves_nothing(tmp_path: Path, count: int, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        page.write_page(tmp_path / name, {"pairs": [{"pair": {}}] * count})
    assert list(tmp_path.iterdir()) == []


def test_telling_pairs_follow_their_rule() -> None:
    """Five queries by hand: two right (their look-alikes are farther), two wrong, one without a match."""
    table = [
        ([1, 9], "correct wrong"),
        ([2, 3], "correct wrong"),
        ([5, 1], "correct wrong"),
        ([4, 1], "correct distractor"),
    ]
    rankings = []
    for distances, status in table:
        order, status = np.argsort(distances), np.array(status.split())
        first = int(np.nonzero(status[order] == "correct")[0][0])
        rankings.append((np.array(distances), SimpleNamespace(kept=order, status=status, first_hit=first)))
    rankings.append(
        (np.array([1, 2]), SimpleNamespace(kept=np.arange(2), status=np.array(["wrong"] * 2), first_hit=-1))
    )
    found = [SimpleNamespace(distances=d, ranking=r) for d, r in rankings]
    desk = SimpleNamespace(dataset=SimpleNamespace(query=range(5)), ranking=found.__getitem__)
    pairs = telling.telling_pairs(SimpleNamespace(desk=desk), 4)
    assert pairs == [(0, 0), (2, 1), (3, 1), (1, 1)]  # right, wrong (the closest first), look-alike
    assert telling.telling_pairs(SimpleNamespace(desk=desk), 2) == [(0, 0), (2, 1)]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CASNKIT_DATA", str(tmp_path / "data"))
    assert main(["page", "--out", str(tmp_path / "all.html")]) == 0
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    pairs = data_of(text)["pairs"]
    assert len(pairs) == 24
    assert len(text) < 1.5e6
    assert {"right", "wrong"} <= {pair["status"] for pair in pairs}
    assert main(["page", "gap-ide", "people:tiny", "--pairs", "3:22", "0:1", "--out", str(tmp_path / "two.html")]) == 0
    two = data_of((tmp_path / "two.html").read_text(encoding="utf-8"))["pairs"]
    assert [pair["pair"]["judges"] for pair in two] == [False, False]
    like = two[0]["pair"]["correspondence"]
    assert np.frombuffer(base64.b64decode(like["values"]), "<i2").sum() * like["scale"] == pytest.approx(
        like["score"], abs=1e-3
    )
    for given, said in {"3": "QUERY:GALLERY", "999:0": "999"}.items():
        capsys.readouterr()
        assert main(["page", "gap-casn", "people:tiny", "--pairs", given, "--out", str(tmp_path / "no.html")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "no.html").exists()
