"""``casnkit ablate``: a study from its options to its table, figures and, with ``--publish``, the pages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casnkit import pages, runs
from casnkit.config import PROFILES
from casnkit.data import open_dataset
from casnkit.data.files import write_json, write_text

from .report import draw, test_time_text, to_text
from .studies import POOLINGS, STUDIES, Setting, open_points, variants
from .summary import summary
from .trials import Trial, finished_rows, run_trials

VALIDATION_SEED = 1  # of the generator: people who are neither trained on nor tested on
HOLD_OUT = 0.2  # share of the training identities that a study on validation takes from a set that cannot be drawn anew


def add_parser(group: Any) -> None:
    """Add ``ablate`` to the command line."""
    ablate = group.add_parser("ablate", help="train variants or open points with several seeds; table with intervals")
    ablate.add_argument("--study", choices=STUDIES, default="variants", help="default: variants, the paper's rows")
    ablate.add_argument("--points", nargs="*", help="open points to try; default: all (with --study open-points)")
    ablate.add_argument("--pooling", nargs="*", choices=POOLINGS, help="default: both for variants, gap otherwise")
    ablate.add_argument("--data", default="people", help="what to train on; default: people, drawn")
    ablate.add_argument("--profile", choices=PROFILES, default="quick", help="default: quick")
    ablate.add_argument("--seeds", type=int, default=3, help="trainings of each setting; default: 3")
    ablate.add_argument("--first-seed", type=int, default=0, help="the first of them")
    ablate.add_argument("--on", choices=("test", "validation"), help="default: test for variants, else validation")
    ablate.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="for all trials: any field")
    ablate.add_argument("--processes", type=int, default=1, help="trials at a time; default: 1")
    ablate.add_argument("--out", type=Path, default=Path("runs/ablation"), help="default: runs/ablation")
    ablate.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    ablate.add_argument("--keep", action="store_true", help="keep the weights of a sweep too")
    ablate.add_argument("--read-only", action="store_true", help="train nothing: report the rows that are there")
    ablate.add_argument("--publish", action="store_true", help="renew figures/ and the pages' numbers in this folder")
    ablate.set_defaults(command=run_study)


def run_study(options: argparse.Namespace) -> None:
    """Run one study, print its table, write its files."""
    from casnkit.commands import assignments

    if options.study == "test-time":
        return run_test_time(options, assignments(options.set))
    on = options.on or ("test" if options.study == "variants" else "validation")
    trials = plan(options, on, assignments(options.set))
    print(f"{options.study}: {len(trials)} trials, on {on} people, in {options.out}", flush=True)
    if options.read_only:
        rows = finished_rows(trials, options.out)
    else:
        keep = options.keep or options.study == "variants"
        rows = run_trials(trials, options.out, processes=options.processes, device=options.device, keep=keep)
    if not rows:
        raise ValueError(f"none of the {len(trials)} trials is finished in {options.out}: run without --read-only")
    result = {"study": options.study, "on": on, **summary(rows), "versions": runs.versions()}
    text = to_text(result)
    print(text)
    name = f"ablation-{options.study}-{on}"
    write_json(options.out / f"{name}.json", result)
    write_text(options.out / f"{name}.txt", text + "\n")
    pictures = draw(result, options.out)
    print("\n".join(f"picture: {path}" for path in pictures))
    print(f"table: {options.out / 'table.csv'}\nresult: {options.out / name}.json")
    if options.publish:
        publish(result, pictures, options.study, options.points or ())


def run_test_time(options: argparse.Namespace, changes: dict[str, Any]) -> None:
    """Readings of the sum on the networks of the study of variants, which are trained where they are missing."""
    from . import testtime

    options.study = "variants"
    trials = plan(options, "test", changes)
    able = [trial for trial in trials if trial.config.loss.siamese_attention]
    if not options.read_only:
        run_trials(able, options.out, processes=options.processes, device=options.device)
    entries = testtime.summarise(testtime.measure_runs(able, options.out, options.device))
    result = {"study": "test-time", "readings": entries, "profile": options.profile, "versions": runs.versions()}
    text = test_time_text(testtime.best_per_mode(entries))
    print(text)
    write_json(options.out / "ablation-test-time.json", result)
    write_text(options.out / "ablation-test-time.txt", text + "\n")
    if options.publish:
        pages.publish("test-time", result)


def plan(options: argparse.Namespace, on: str, changes: dict[str, Any]) -> list[Trial]:
    """The trials of a study: every setting with every seed.

    Raises:
        ValueError: unknown points or fields, or fewer than one seed.
    """
    if options.seeds < 1:
        raise ValueError(f"expected at least one seed, got {options.seeds}")
    settings = _settings(options, changes)
    data, test, hold_out = _where(options.data, options.profile, on)
    choose_on = f"{data}@{VALIDATION_SEED}" if on == "test" and data.startswith("people:") else None
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    common = ", ".join(options.set)

    def trial(setting: Setting, seed: int) -> Trial:
        config = setting.config(options.profile, seed, **changes)
        label = setting.label if not common else f"{setting.label} [{common}]"
        return Trial(options.study, setting.point, label, config, data, on, test, hold_out, choose_on)

    return [trial(setting, seed) for seed in seeds for setting in settings]


def _settings(options: argparse.Namespace, changes: dict[str, Any]) -> list[Setting]:
    if options.study == "variants":
        return variants(options.pooling or POOLINGS)
    return [s for p in options.pooling or ("gap",) for s in open_points(options.profile, options.points, p, **changes)]


def _where(data: str, profile_name: str, on: str) -> tuple[str, str | None, int]:
    """What to train on, what to test on (None: the same), and how many identities to hold out."""
    if data == "people":
        data = {"smoke": "people:tiny", "quick": "people:quick", "paper": "people:market"}[profile_name]
    if on == "test":
        return data, None, 0
    if data.startswith("people:"):
        return data, f"{data}@{VALIDATION_SEED}", 0
    identities = len(open_dataset(data, progress=False).train.identities)
    return data, None, max(1, round(HOLD_OUT * identities))


def publish(result: dict[str, Any], pictures: list[Path], study: str, points: Sequence[str] = ()) -> None:
    """Put the figures and the result into ``figures/``; what was measured of some points alone gets a name of its own."""
    import shutil

    from casnkit.data.files import atomic_path

    if points:
        pages.publish("-".join(["open-points", *points]), result)
        return
    for picture in pictures:
        with atomic_path(Path("figures") / picture.name) as temporary:
            shutil.copyfile(picture, temporary)
    pages.publish("ablation" if study == "variants" else "open-points", result)
