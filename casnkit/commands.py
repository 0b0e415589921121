"""What each command of :mod:`casnkit.cli` does, from its parsed options to its last printed line."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from casnkit.training import say_epoch

from .config import Config, profile

# settings that may be left to their default
MAY_BE_NONE = ("weights", "last_stride", "id_hidden", "clip_norm", "pair_weight_decay")


def demonstrate(options: argparse.Namespace) -> None:
    """Draw people, train the baseline and CASN, compare them."""
    from .demo import run_demo

    run_demo(options.out, options.profile, options.seeds, options.device)


def draw_people(options: argparse.Namespace) -> None:
    """Draw a data set of people."""
    from casnkit.data.people import synthesize

    print(synthesize(options.out, options.size, options.seed, options.processes))


def check_data(options: argparse.Namespace) -> int:
    """Check a data set. Returns 1 where something is wrong."""
    from .data.check import check

    report = check(options.path, options.name)
    print(report.to_text())
    return 0 if report.ok else 1


def train_network(options: argparse.Namespace) -> None:
    """Train one network, or go on with a run that was stopped."""
    from casnkit.training import find_processes

    from .data import open_dataset
    from .training import train

    config, main_process = train_config(options), find_processes(options.device).is_main
    dataset = open_dataset(options.data)
    name = [
        dataset.name,
        config.profile,
        config.model.pooling,
        config.variant.replace("+", "_"),
        str(config.train.seed),
    ]
    out = options.out or Path("runs") / "-".join(name)
    dataset, validate = _validation(dataset, config, options)
    calls = [say_epoch]
    if options.tensorboard:
        from casnkit.training import TensorBoardLog

        calls.append(TensorBoardLog(out / "tensorboard"))
    if main_process:
        print(dataset, flush=True)
    train(
        dataset,
        config,
        out,
        device=options.device,
        place=options.images,
        workers=options.workers,
        checkpoint_minutes=options.checkpoint_minutes,
        on_epoch=lambda *row: [call(*row) for call in calls],
        validate=validate,
    )
    if main_process:
        print(f"trained {config.variant} ({config.model.pooling}): {out}")
        print(f"next: casnkit evaluate --run {out} --data {options.data}")


def train_config(options: argparse.Namespace) -> Config:
    """The configuration that the options of ``train`` describe. Raises ValueError for unknown names or values."""
    changes: dict[str, Any] = {"variant": options.variant, "pooling": options.pooling}
    for name in ("backbone", "weights", "epochs", "learning_rate", "warmup", "clip_norm", "batch_size", "seed"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    if "weights" in changes:
        changes["weights"] = _value("weights", changes["weights"])
    return profile(options.profile, **assignments(options.set, changes))


def assignments(given: Iterable[str], changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """``NAME=VALUE`` or ``GROUP.NAME=VALUE``, added to ``changes``. Raises ValueError where there is no ``=``."""
    changes = dict(changes or {})
    for assignment in given:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        name = name.strip()
        changes |= _nested(name, _value(name.split(".")[-1], value.strip()), changes)
    return changes


def _nested(name: str, value: Any, changes: dict[str, Any]) -> dict[str, Any]:
    group, dot, field = name.partition(".")
    return {group: {**changes.get(group, {}), field: value}} if dot else {name: value}


def _value(field: str, text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() == "none":
        return None if field in MAY_BE_NONE else "none"  # elsewhere "none" is a choice, such as no activation
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _validation(dataset: Any, config: Config, options: argparse.Namespace) -> tuple[Any, Any]:
    if not options.validate:
        return dataset, None
    from casnkit.data.records import hold_out

    from .evaluation import evaluate

    dataset, validation = hold_out(dataset, options.validate, config.train.seed)

    def validate(model: Any) -> dict[str, float]:
        device = next(model.parameters()).device
        result = evaluate(model, validation, config, device=device, progress=False, attention=False)
        ranking = result.rankings["features"]
        return {"validation_mean_ap": 100 * ranking.mean_ap, "validation_rank_1": 100 * ranking.rank(1)}

    return dataset, validate


def evaluate_run(options: argparse.Namespace) -> None:
    """Rank a gallery with a trained network; table and pictures."""
    from casnkit.training import find_processes

    from . import evaluation, runs
    from .data import open_dataset

    processes = find_processes(options.device)
    run = options.run or newest_run(Path("runs"))
    model, info = runs.load_model(run, processes.device)
    dataset = open_dataset(options.data or info.data["root"])
    result = evaluation.evaluate(model, dataset, info.config, processes=processes)
    if not processes.is_main:
        return
    file = evaluation.save_results(run, result, dataset, info)
    print(dataset)
    print(f"{info.config.variant} ({info.config.model.pooling}), 1 seed, percent:\n{evaluation.table(result.rows())}")
    for note in result.rankings["features"].notes:
        print(f"note: {note}")
    print(f"results: {file}")
    if options.pictures:
        from .report import draw_report

        print(
            "\n".join(f"picture: {path}" for path in draw_report(run, model, dataset, result, info, options.pictures))
        )


def newest_run(folder: Path) -> Path:
    """The run below ``folder`` that was written last. Raises ValueError where there is none."""
    found = sorted(folder.glob("**/model.safetensors"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(f"found no trained run below {folder.resolve()}: name one with --run, or train one")
    return found[-1].parent


def measure_speed(options: argparse.Namespace) -> None:
    """Measure speed, side by side."""
    import importlib

    from casnkit.runs import pick_device

    from . import pages

    module = importlib.import_module(f"casnkit.bench.{options.what}")
    figures = module.run(device=str(pick_device(options.device)), quick=options.quick, out=options.out)
    print(module.to_text(figures))
    if options.out:
        print(f"figures: {options.out}")
    if options.publish:
        pages.publish(f"bench-{options.what}", figures)
