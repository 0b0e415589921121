"""The lessons in their order, executed and kept: ``python figures/make/lessons.py``.

Every notebook is run from first to last cell. The seconds go to ``figures/results/lessons.csv``, from which README's table is
filled. At profile ``quick`` the notebook then keeps what its cells showed, so that it can be read without running it: small
pictures, no widgets, no warnings. A fingerprint of the code tells later whether the outputs are those of the present cells.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import time
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[2]
TIMES = ROOT / "figures" / "results" / "lessons.csv"
PROFILES = ("smoke", "quick", "paper")
PAGE = 1100  # pixels; text of a picture that is made narrower than this cannot be read
LESSONS = pd.DataFrame(
    [
        ("00_start_here", "Start here", "Same person? And what made you think so?", "nothing"),
        ("01_data_and_protocol", "Data and protocol", "Who counts the points, and by which rules?", "00; no network"),
        ("02_baselines", "Baselines", "What does a network learn that colours cannot tell?", "01"),
        ("03_identification_attention", "Identification attention", "Which places made it say *this person*?", "00"),
        ("04_siamese_attention", "Siamese attention", "Which parts of both pictures speak for *the same*?", "03"),
        ("05_casn_in_a_hundred_lines", "CASN in a hundred lines", "Could you build all of it yourself?", "03, 04"),
        ("06_casn_and_ablation", "CASN and ablation", "Which term earns its place, and how can one tell?", "04"),
        ("07_ranking_with_attention", "Ranking with attention", "Does attention add anything to the features?", "04"),
        ("08_reranking_and_verification", "Re-ranking, verification", "From which distance on is it one person?", "07"),
        ("09_pair_inspector", "Pair inspector", "What changes when I change the pair?", "04"),
        ("10_failures_and_rank_changes", "Failures", "Where does it fail, and what did attention move?", "07"),
        ("11_captum_comparison", "Explanations compared", "Is a closed-form map a good explanation?", "04"),
        ("12_paper_tables", "The paper's tables", "What of the paper comes out again?", "06"),
    ],
    columns=["name", "title", "question", "needs"],
)


def execute(path: Path, profile: str) -> nbformat.NotebookNode:
    """The notebook after a run from first to last cell at a profile; the file stays as it is."""
    book = nbformat.read(path, as_version=4)
    before = dict(os.environ)
    os.environ["CASNKIT_PROFILE"] = profile  # kernels inherit it
    try:
        place = {"metadata": {"path": str(path.parent)}}
        NotebookClient(book, timeout=3600, kernel_name="python3", resources=place).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return book


def keep(book: nbformat.NotebookNode, path: Path) -> None:
    """Write an executed notebook with the outputs that a reader needs, and the fingerprint of its code."""
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            unstable = "timing" in cell.metadata.get("tags", [])  # says another number at each run
            cell.outputs = [] if unstable else [kept for kept in map(_tidied, cell.outputs) if kept]
    book.metadata.pop("widgets", None)
    book.metadata["casnkit"] = {"profile": "quick", "code": fingerprint(book)}
    nbformat.write(book, path)


def fingerprint(book: nbformat.NotebookNode) -> str:
    """A hash of all code in a notebook, to which the outputs kept in it belong."""
    code = "\0".join(cell.source for cell in book.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def _tidied(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output as it is kept; None for a widget, which needs a kernel, and for what went to the error stream."""
    if output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        return None
    if output.output_type == "execute_result":
        output.execution_count = None
    texts = output if output.output_type == "stream" else output.data
    for name in {"text", "text/plain", "text/html", "text/markdown"} & set(texts):
        texts[name] = texts[name].replace(os.environ["CASNKIT_DATA"], "$CASNKIT_DATA").replace(f"{ROOT}/notebooks/", "")
    if "image/png" in output.get("data", {}):
        output.data.pop("text/html", None)  # holds the picture once more
        output.data["image/png"] = base64.b64encode(_small(base64.b64decode(output.data["image/png"]))).decode()
    return output


def _small(png: bytes) -> bytes:
    """A picture in 64 colours; one that is wider than a page, at its size or at half of it, whichever takes fewer bytes."""
    image, found = Image.open(io.BytesIO(png)).convert("RGB"), []
    half = (image.width // 2, image.height // 2)
    for size in (image.size, half) if image.width > PAGE else (image.size,):
        file = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).quantize(64, kmeans=1).save(file, "PNG", optimize=True)
        found.append(file.getvalue())
    return min(found, key=len)


def markdown(times: Path = TIMES) -> str:
    """README's table of the lessons, with the seconds that were measured."""
    seconds = pd.read_csv(times).pivot(index="name", columns="profile", values="seconds")
    seconds = seconds[[profile for profile in PROFILES if profile in seconds]]
    rows = ["| notebook | the question | needs | " + "".join(f"`{profile}` | " for profile in seconds).strip()]
    rows.append("|---|---|---|" + "--:|" * seconds.shape[1])
    for lesson in LESSONS.itertuples():
        link = f"[{lesson.name[:2]} {lesson.title}](notebooks/{lesson.name}.ipynb)"
        took = [f"{value:.0f} s" for value in seconds.loc[lesson.name]]
        rows.append(f"| {' | '.join([link, lesson.question, lesson.needs, *took])} |")
    total = ", ".join(f"{value / 60:.0f} min at `{profile}`" for profile, value in seconds.sum().items())
    cores = pd.read_csv(times)["cores"].max()
    note = (
        f"Seconds from first to last cell on {cores} processor cores, with the networks that come with the kit and people "
        f"that were drawn before; all of them: {total}."
    )
    return "\n".join([*rows, "", note])


def main() -> None:
    """Run the lessons, write their times, and at ``quick`` what they showed."""
    os.environ["CASNKIT_DATA"] = str(Path(os.environ.get("CASNKIT_DATA", ROOT / "data")).absolute())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    parser.add_argument(
        "--only", nargs="+", choices=list(LESSONS["name"]), default=list(LESSONS["name"]), metavar="NAME"
    )
    options = parser.parse_args()
    profile, rows = options.profile, []
    for name in options.only:
        started = time.perf_counter()
        path = ROOT / "notebooks" / f"{name}.ipynb"
        book = execute(path, profile)
        seconds = round(time.perf_counter() - started, 1)
        rows.append({"name": name, "profile": profile, "seconds": seconds, "cores": os.cpu_count()})
        print(f"{name}: {seconds} s", flush=True)
        if profile == "quick":
            keep(book, path)
    kept = pd.read_csv(TIMES)
    again = (kept["profile"] == profile) & kept["name"].isin(options.only)
    pd.concat([kept[~again], pd.DataFrame(rows)]).sort_values(["profile", "name"]).to_csv(TIMES, index=False)


if __name__ == "__main__":
    main()
