"""The command line: the same work as the notebooks, without one.

Every command prints what it did and where the results lie; bad input ends with one sentence and exit status 2, an
interruption with the command that goes on and status 130.
"""

from __future__ import annotations

import argparse
import ast
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .config import PROFILES, VARIANTS, Config, profile

DATA_HELP = "a folder with a benchmark or one's own pictures, or 'people' (drawn, the default)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            return int(options.command(options) or 0)
    except KeyboardInterrupt:
        print("\nstopped. Finished epochs are kept: the same command goes on from there.", file=sys.stderr)
        return 130
    except (ValueError, ImportError) as error:
        print(f"casnkit: {error}", file=sys.stderr)
        return 2


def _say_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    print(f"note: {message}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="casnkit", description=__doc__.split("\n")[0])
    top.add_argument("--version", action="version", version=f"casnkit {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_data(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_bench(commands)
    return top


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="draw people, train the baseline and CASN, compare them, save pictures")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for runs, results and pictures")
    demo.add_argument("--profile", choices=PROFILES[:2], default="quick", help="smoke takes seconds, quick minutes")
    demo.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    demo.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    demo.add_argument("--publish", action="store_true", help="renew figures/ and the table in README.md of this folder")
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> None:
    from .demo import publish, run_demo

    run_demo(options.out, options.profile, options.seeds, options.device)
    if options.publish:
        publish(options.out, Path())


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="draw a data set, or check one").add_subparsers(
        required=True, metavar="WHAT"
    )
    synthesize = data.add_parser("synthesize", help="draw people in Market-1501's layout, with masks and part maps")
    synthesize.add_argument("--out", type=Path, required=True, help="folder to write to")
    synthesize.add_argument("--size", default="quick", help="tiny, quick or market (default: quick)")
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.add_argument("--processes", type=int, help="default: one for each processor; changes no byte")
    synthesize.set_defaults(command=_synthesize)
    check = data.add_parser("check", help="recognise a folder, compare counts, name unreadable pictures")
    check.add_argument("path", type=Path)
    check.add_argument("--name", default="auto", help="what it should be, e.g. market1501; default: recognised")
    check.set_defaults(command=_check)


def _synthesize(options: argparse.Namespace) -> None:
    from .data.people import synthesize

    print(synthesize(options.out, options.size, options.seed, options.processes))


def _check(options: argparse.Namespace) -> int:
    from .data.check import check

    report = check(options.path, options.name)
    print(report.to_text())
    return 0 if report.ok else 1


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train one network, or go on with a run that was stopped")
    train.add_argument("--data", default="people", help=DATA_HELP)
    train.add_argument("--profile", choices=PROFILES, default="quick", help="default: quick")
    train.add_argument("--out", type=Path, help="the run's folder; default: runs/DATA-PROFILE-POOLING-VARIANT-SEED")
    train.add_argument("--variant", choices=VARIANTS, default="casn", help="which losses are on; default: casn")
    train.add_argument("--pooling", choices=("gap", "stripes"), default="gap", help="gap = IDE, stripes = PCB")
    train.add_argument("--backbone", help="resnet50, resnet18, densenet121, vgg16, squeezenet1_1 or small")
    train.add_argument("--weights", help="imagenet (torchvision's cached file), a file, or none")
    train.add_argument("--epochs", type=int)
    train.add_argument("--learning-rate", type=float)
    train.add_argument("--warmup", type=float, help="share of the epochs in which the learning rate rises")
    train.add_argument("--clip-norm", type=float, help="gradient norm at which to clip")
    train.add_argument("--batch-size", type=int, help="pairs in a batch")
    train.add_argument("--seed", type=int)
    train.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="any field of casnkit/config.py")
    train.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    train.add_argument("--images", choices=("auto", "device", "memory", "disk"), default="auto", help="where they live")
    train.add_argument("--workers", type=int, help="processes that read images from disk")
    train.add_argument("--checkpoint-minutes", type=float, default=10.0, help="save within an epoch after so long")
    train.add_argument(
        "--validate", type=int, default=0, metavar="N", help="hold out N identities and keep the best epoch"
    )
    train.add_argument("--tensorboard", action="store_true", help="write scalars to RUN/tensorboard")
    train.set_defaults(command=_train)


def train_config(options: argparse.Namespace) -> Config:
    """The configuration that the options of ``train`` describe. Raises ValueError for unknown names or values."""
    changes: dict[str, Any] = {"variant": options.variant, "pooling": options.pooling}
    for name in ("backbone", "weights", "epochs", "learning_rate", "warmup", "clip_norm", "batch_size", "seed"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    if changes.get("weights") == "none":
        changes["weights"] = None
    for assignment in options.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        changes |= _nested(name.strip(), _value(value.strip()), changes)
    return profile(options.profile, **changes)


def _nested(name: str, value: Any, changes: dict[str, Any]) -> dict[str, Any]:
    group, dot, field = name.partition(".")
    return {group: {**changes.get(group, {}), field: value}} if dot else {name: value}


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        # "none" is also the name of an activation and of a normalisation; those fields take strings only
        return words[text.lower()] if text != "none" else "none"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _train(options: argparse.Namespace) -> None:
    from .data import open_dataset
    from .processes import find_processes
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
        from .tensorboard import TensorBoardLog

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


def _validation(dataset: Any, config: Config, options: argparse.Namespace) -> tuple[Any, Any]:
    if not options.validate:
        return dataset, None
    from .data.holdout import hold_out
    from .evaluation import evaluate

    dataset, validation = hold_out(dataset, options.validate, config.train.seed)

    def validate(model: Any) -> dict[str, float]:
        result = evaluate(model, validation, config, device=options.device, progress=False, attention=False)
        ranking = result.rankings["features"]
        return {"validation_mean_ap": 100 * ranking.mean_ap, "validation_rank_1": 100 * ranking.rank(1)}

    return dataset, validate


def say_epoch(epoch: int, _: Any, row: dict[str, Any]) -> None:
    """Print one epoch's loss terms, learning rate and speed."""
    terms = "  ".join(f"{k} {row[k]:.3f}" for k in ("total", "ide", "ia", "bce", "consistency") if k in row)
    print(
        f"epoch {epoch:3d}  {terms}  lr {row['learning_rate']:.4g}  {row['images_per_second']:.0f} images/s", flush=True
    )


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="rank a gallery with a trained network; table and pictures")
    evaluate.add_argument("--run", type=Path, help="the run's folder; default: the newest below runs/")
    evaluate.add_argument("--data", help=DATA_HELP + "; default: what the run was trained on")
    evaluate.add_argument("--pictures", type=int, default=4, help="queries to draw; 0 for none")
    evaluate.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from . import evaluation, runs
    from .data import open_dataset
    from .processes import find_processes

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


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="measure speed as ratios, side by side")
    bench.add_argument("what", choices=("attention", "train"), help="what to measure")
    bench.add_argument("--out", type=Path, help="write the figures to this JSON file")
    bench.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    bench.add_argument("--publish", action="store_true", help="renew figures/ and the README's block in this folder")
    bench.add_argument("--quick", action="store_true", help="small sizes, for a look in seconds")
    bench.set_defaults(command=_bench)


def _bench(options: argparse.Namespace) -> None:
    import importlib

    from . import readme
    from .processes import pick_device

    module = importlib.import_module(f"casnkit.bench.{options.what}")
    figures = module.run(device=str(pick_device(options.device)), quick=options.quick, out=options.out)
    print(module.to_text(figures))
    if options.out:
        print(f"figures: {options.out}")
    if options.publish:
        readme.publish(Path(), f"bench {options.what}", figures, readme.fenced(module.to_text(figures)))


if __name__ == "__main__":
    sys.exit(main())
