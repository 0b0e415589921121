"""The course: its notebooks in their order, what each asks, and how long each took where it was run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from casnkit.data.files import read_json

from .config import PROFILES


@dataclass(frozen=True)
class Lesson:
    """One notebook.

    Attributes:
        name: of its file, without the suffix.
        title: as in the README.
        question: what it answers.
        needs: numbers of the notebooks to read before.
    """

    name: str
    title: str
    question: str
    needs: str


COURSE = (
    Lesson("00_start_here", "Start here", "Same person? And what made you think so?", "nothing"),
    Lesson("01_data_and_protocol", "Data and protocol", "Who counts the points, and by which rules?", "00; no network"),
    Lesson("02_baselines", "Baselines", "What does a network learn that colours cannot tell?", "01"),
    Lesson("03_identification_attention", "Identification attention", "Which places made it say *this person*?", "00"),
    Lesson("04_siamese_attention", "Siamese attention", "Which parts of both pictures speak for *the same*?", "03"),
    Lesson(
        "05_casn_and_ablation",
        "CASN and ablation",
        "Which term earns its place, and how many trainings does it take to tell?",
        "04",
    ),
    Lesson("06_ranking_with_attention", "Ranking with attention", "Does attention add anything to the features?", "04"),
    Lesson("07_pair_inspector", "Pair inspector", "What changes when I change the pair?", "04"),
    Lesson("08_failures_and_rank_changes", "Failures", "Where does it fail, and what did attention move?", "06"),
    Lesson("09_captum_comparison", "Explanations compared", "Is a closed-form map a good explanation?", "04"),
    Lesson("10_paper_tables", "The paper's tables", "What of the paper comes out again?", "05"),
)


def table(figures: Path) -> str:
    """The course in Markdown, with the seconds of every notebook from ``figures/notebooks-PROFILE.json``."""
    found = {p: read_json(f) for p in PROFILES if (f := figures / f"notebooks-{p}.json").is_file()}
    lines = ["| notebook | the question | needs | " + "".join(f"`{p}` | " for p in found).strip()]
    lines.append("|---|---|---|" + "--:|" * len(found))
    for lesson in COURSE:
        link = f"[{lesson.name[:2]} {lesson.title}](notebooks/{lesson.name}.ipynb)"
        times = [result["seconds"].get(lesson.name) for result in found.values()]
        cells = ["" if seconds is None else f"{seconds:.0f} s" for seconds in times]
        lines.append(f"| {' | '.join([link, lesson.question, lesson.needs, *cells])} |")
    if not found:
        return "\n".join(lines)
    total = ", ".join(f"{sum(r['seconds'].values()) / 60:.0f} min at `{p}`" for p, r in found.items())
    cores = ", ".join(str(c) for c in sorted({result["cores"] for result in found.values()}))
    note = (
        f"Seconds from first to last cell on {cores} processor cores, after `casnkit demo` and with the networks that come "
        f"with the kit; all of them: {total} (`casnkit renew --steps notebooks`). Without the demo, notebook 00 trains its "
        "two networks first."
    )
    return "\n".join([*lines, "", note])
