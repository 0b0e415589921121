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
import pandas as pd
import pytest
from PIL import Image

from casnkit import notebook
from casnkit.__main__ import main
from casnkit.figures import style
from casnkit.inspector import page, payload

HOSTILE = '</script><script>alert(1)</script> "q" \u202e \udc80'


def small_pair(**fields: Any) -> dict[str, Any]:
    sides = payload.picture(Image.new("RGB", (8, 16)), name=HOSTILE), payload.picture(None)
    return payload.pair(*sides, "right", [payload.method("m", HOSTILE, [np.ones((2, 1)), np.zeros((2, 1))])], **fields)


def data_of(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="view">(.*?)</script>', text, re.S)[1])


def test_a_matrix_travels_as_whole_numbers() -> None:
    matrix = np.random.default_rng(0).normal(0.5, size=(6, 4))
    found = payload.correspondence(matrix, [(3, 2), (2, 2)])
    back = np.frombuffer(base64.b64decode(found["values"]), "<i2").reshape(6, 4) * found["scale"]
    np.testing.assert_allclose(back, matrix, atol=np.abs(matrix).max() / 2**16)
    cells = [(i, j) for i in range(6) for j in range(4) if matrix[i, j] == matrix[i].max() == matrix[:, j].max()]
    slow = [cell for cell in cells if matrix[cell] > 0]
    assert sorted((i, j) for i, j, _ in found["mutual"]) == slow
    shares = [share for *_, share in found["mutual"]]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(max(matrix[cell] for cell in slow) / matrix.sum(), rel=1e-3)


def test_what_is_said_of_empty_maps_and_unread_pictures() -> None:
    pair = small_pair()
    assert "gallery picture is 0" in pair["methods"][0]["note"]
    assert pair["gallery"]["error"]
    with pytest.raises(ValueError, match="finite matrix"):
        payload.correspondence(np.full((6, 4), np.nan), [(3, 2), (2, 2)])


def test_a_page_runs_only_its_own_module() -> None:
    view = {"pairs": [{"status": "right", "name": HOSTILE, "pair": small_pair()}]}
    text = page.page_of(view, HOSTILE)
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
def test_a_page_that_cannot_be_is_refused_before_any_work(count: int, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        page.check_page(name, count)


def test_telling_pairs_follow_their_rule() -> None:
    """Five queries by hand: two right (their look-alikes are farther), two wrong, one without a match."""
    columns = "right", "wrong", "top_right", "nearest_right", "nearest_wrong", "num_matches"
    lines = [(1, 9, True, 0, 1, 1), (2, 3, True, 0, 1, 1), (5, 1, False, 0, 1, 1), (4, 1, False, 0, 1, 1),
             (np.nan, 1, False, -1, 0, 0)]  # fmt: skip
    table = pd.DataFrame(lines, columns=columns).to_records(index=False)
    desk = SimpleNamespace(table=lambda: table)
    assert page.telling_pairs(desk, 4) == [
        (0, 0),
        (2, 1),
        (3, 1),
        (1, 1),
    ]  # right, wrong (the closest first), look-alike
    assert page.telling_pairs(desk, 2) == [(0, 0), (2, 1)]


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


def test_a_lesson_shows_a_pair_and_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, dict[str, Any]]] = []
    for module in (notebook, style):
        monkeypatch.setattr(module, "display", lambda what, **options: shown.append((what, options)))
    maps, matrix = [np.eye(3), np.ones((2, 2))], np.arange(36.0).reshape(9, 4)
    notebook.show([Image.new("RGB", (8, 16))] * 2, maps, matrix, threshold=0.3)
    (viewer, _), (bundle, options) = shown
    assert viewer.state["threshold"] == 0.3
    assert viewer.pair["methods"][0]["maps"] == [maps[0].ravel().tolist(), [1.0] * 4]
    assert viewer.pair["correspondence"]["score"] == matrix.sum()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert options["metadata"]["image/png"]["alt"].startswith("Twin of")
    with pytest.raises(ValueError, match="treshold"):
        notebook.show([], maps, treshold=1)
