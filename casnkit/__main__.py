"""The command line: the same work as the notebooks, without one. ``python -m casnkit`` is ``casnkit``.

Every command prints what it did and where the results lie; bad input ends with one sentence and exit status 2, an
interruption with what to do and status 130. What a command needs is loaded when it is called.
"""

import argparse
import ast
import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import casnkit as ck
from casnkit.config import PROFILES, VARIANTS

DATA_HELP = "a folder with a benchmark or one's own pictures, or 'people' (drawn, the default)"
DEVICE_HELP = "cpu or cuda; default: a GPU if there is one"
RUN_HELP = "the run's folder, or a network of the kit such as gap-casn; default: the newest below runs/"
SETTINGS = {  # those of casnkit/config.py that have an option of their own
    "backbone": "resnet50, resnet18, densenet121, vgg16, squeezenet1_1 or small",
    "weights": "imagenet (torchvision's cached file), a file, or none",
    "epochs": "how often every training image is seen",
    "learning_rate": "of SGD",
    "warmup": "share of the epochs in which the learning rate rises",
    "clip_norm": "gradient norm at which to clip",
    "batch_size": "pairs in a batch",
    "seed": "of weights, pairs and augmentation",
}
MAY_BE_NONE = ("weights", "last_stride", "id_hidden", "clip_norm", "pair_weight_decay")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(arguments[0] if arguments else "").parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            status = int(options.command(options) or 0)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        print("\nstopped. Finished epochs are kept: rerun the command to resume.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, ImportError) as error:
        print(f"casnkit: {error}", file=sys.stderr)
        return 2


def parser(command: str = "") -> argparse.ArgumentParser:
    """The commands and their options; where ``command`` is given, of that one alone."""
    top = argparse.ArgumentParser(prog="casnkit", description=__doc__.split("\n")[0])
    top.add_argument("--version", action="version", version=f"casnkit {ck.__version__}")
    group = top.add_subparsers(required=True, metavar="COMMAND")
    for name in [command] if command in COMMANDS else COMMANDS:
        described = COMMANDS[name]
        if isinstance(described, str):
            described = importlib.import_module(described).add_parser
        described(group)
    return top


def add_data(group: Any) -> None:
    """``casnkit data synthesize|check``."""
    data = group.add_parser("data", help="draw a data set, or check one").add_subparsers(required=True, metavar="WHAT")
    synthesize = data.add_parser("synthesize", help="draw people in Market-1501's layout, with masks and part maps")
    synthesize.add_argument("--out", type=Path, required=True, help="folder to write to")
    synthesize.add_argument("--size", default="quick", help="tiny, quick or market (default: quick)")
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.add_argument("--processes", type=int, help="default: one for each processor; changes no byte")
    synthesize.set_defaults(command=draw_people)
    check = data.add_parser("check", help="recognise a folder, compare counts, name unreadable pictures")
    check.add_argument("path", type=Path)
    check.add_argument("--name", default="auto", help="what it should be, e.g. market1501; default: recognised")
    check.set_defaults(command=check_data)


def draw_people(options: argparse.Namespace) -> None:
    """Draw a data set of people."""
    print(ck.data.people.synthesize(options.out, options.size, options.seed, options.processes))


def check_data(options: argparse.Namespace) -> int:
    """Check a data set. Returns 1 where something is wrong."""
    report = ck.data.check.check(options.path, options.name)
    print(report.to_text())
    return 0 if report.ok else 1


def add_train(group: Any) -> None:
    """``casnkit train``."""
    train = group.add_parser("train", help="train one network, or go on with a run that was stopped")
    train.add_argument("--data", default="people", help=DATA_HELP)
    train.add_argument("--profile", choices=PROFILES, default="quick", help="default: quick")
    train.add_argument("--out", type=Path, help="the run's folder; default: runs/DATA-PROFILE-POOLING-VARIANT-SEED")
    train.add_argument("--variant", choices=VARIANTS, default="casn", help="which losses are on; default: casn")
    train.add_argument("--pooling", choices=("gap", "stripes"), default="gap", help="gap = IDE, stripes = PCB")
    for name, text in SETTINGS.items():
        train.add_argument(f"--{name.replace('_', '-')}", help=f"{text}; default: the profile's")
    train.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="any field of casnkit/config.py")
    train.add_argument("--device", help=DEVICE_HELP)
    train.add_argument("--images", choices=("auto", "device", "memory", "disk"), default="auto", help="where they live")
    train.add_argument("--workers", type=int, help="processes that read images from disk")
    train.add_argument("--validate", type=int, default=0, metavar="N", help="hold out N people, keep the best epoch")
    train.add_argument("--tensorboard", action="store_true", help="write scalars to RUN/tensorboard")
    train.set_defaults(command=train_network)


def train_network(options: argparse.Namespace) -> None:
    """Train one network, or go on with a run that was stopped."""
    config, dataset = train_config(options), ck.open_dataset(options.data)
    name = [dataset.name, config.profile, config.model.pooling, config.variant.replace("+", "_")]
    out = options.out or Path("runs") / "-".join([*name, str(config.train.seed)])
    dataset, validate = _validation(dataset, config, options.validate)
    main_process = ck.training.find_processes(options.device).is_main
    calls = [ck.training.say_epoch]
    if options.tensorboard:
        calls.append(ck.training.TensorBoardLog(out / "tensorboard"))
    if main_process:
        print(dataset, flush=True)
    ck.training.train(
        dataset,
        config,
        out,
        device=options.device,
        place=options.images,
        workers=options.workers,
        on_epoch=lambda *row: [call(*row) for call in calls],
        validate=validate,
    )
    if main_process:
        print(f"trained {config.variant} ({config.model.pooling}): {out}")
        print(f"next: casnkit evaluate --run {out} --data {options.data}")


def train_config(options: argparse.Namespace) -> ck.Config:
    """The configuration that the options of ``train`` describe. Raises ValueError for unknown names or values."""
    given = {name: getattr(options, name) for name in ("variant", "pooling", *SETTINGS)}
    given = [f"{name}={value}" for name, value in given.items() if value is not None]
    return ck.profile(options.profile, **assignments([*given, *options.set]))


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """``NAME=VALUE`` or ``GROUP.NAME=VALUE`` as changes of a configuration. Raises ValueError where there is no ``=``."""
    changes: dict[str, Any] = {}
    for assignment in given:
        name, equals, text = map(str.strip, assignment.partition("="))
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        group, dot, field = name.rpartition(".")
        (changes.setdefault(group, {}) if dot else changes)[field] = _value(field, text)
    return changes


def _value(field: str, text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() == "none":
        return None if field in MAY_BE_NONE else "none"  # elsewhere "none" is a choice, such as no activation
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _validation(dataset: Any, config: Any, people: int) -> tuple[Any, Callable[[Any], dict[str, float]] | None]:
    """The data set without the people to validate on, and the function that ranks them after an epoch."""
    if not people:
        return dataset, None
    dataset, held_out = ck.data.records.hold_out(dataset, people, config.train.seed)

    def validate(model: Any) -> dict[str, float]:
        device = next(model.parameters()).device
        result = ck.evaluation.evaluate(model, held_out, config, device=device, progress=False, attention=False)
        ranking = result.rankings["features"]
        return {"validation_mean_ap": 100 * ranking.mean_ap, "validation_rank_1": 100 * ranking.rank(1)}

    return dataset, validate


def add_evaluate(group: Any) -> None:
    """``casnkit evaluate``."""
    evaluate = group.add_parser("evaluate", help="rank a gallery with a trained network; table and pictures")
    evaluate.add_argument("--run", type=Path, help=RUN_HELP)
    evaluate.add_argument("--data", help=DATA_HELP + "; default: what the run was trained on")
    evaluate.add_argument("--pictures", type=int, default=4, help="queries to draw; 0 for none")
    evaluate.add_argument("--device", help=DEVICE_HELP)
    evaluate.set_defaults(command=evaluate_run)


def evaluate_run(options: argparse.Namespace) -> None:
    """Rank a gallery with a trained network; table and pictures."""
    processes = ck.training.find_processes(options.device)
    folder, model, info = open_network(options.run, processes.device)
    dataset = ck.open_dataset(options.data or info.data["root"] or "people")
    result = ck.evaluation.evaluate(model, dataset, info.config, processes=processes)
    if not processes.is_main:
        return
    file = ck.evaluation.save_results(folder, result, dataset, info)
    print(dataset)
    print(f"{info.config.variant} ({info.config.model.pooling}), 1 seed, percent:")
    print(ck.evaluation.table(result.rows()))
    for note in result.rankings["features"].notes:
        print(f"note: {note}")
    print(f"results: {file}")
    if options.pictures:
        for path in ck.report.draw_report(folder, model, dataset, result, info, options.pictures):
            print(f"picture: {path}")


def open_network(run: str | Path | None, device: Any) -> tuple[Path, Any, Any]:
    """A trained network by its run's folder or by its name in the kit: folder for results, model, what is known of it.

    None is the run below ``runs`` that was written last.

    Raises:
        ValueError: there is no such run, or none at all.
    """
    shipped = importlib.import_module("casnkit.experiments.shipped")
    if run is not None and str(run) in shipped.list_shipped() and not Path(run).exists():
        config = ck.runs.read_run(shipped.FOLDER / run).config
        return Path("runs") / run, *shipped.load_shipped(config.variant, config.model.pooling, device)
    if run is None:
        found = sorted(Path("runs").glob("**/model.safetensors"), key=lambda path: path.stat().st_mtime)
        if not found:
            place = Path("runs").resolve()
            raise ValueError(f"found no trained run below {place}: name one with --run, or train one")
        run = found[-1].parent
    return Path(run), *ck.runs.load_model(run, device)


def add_league(group: Any) -> None:
    """``casnkit league``, with what :mod:`casnkit.explain.league` asks for."""
    importlib.import_module("casnkit.explain.league").add_parser(group)
    group.choices["league"].set_defaults(command=run_league)


def run_league(options: argparse.Namespace) -> None:
    """Measure all explanations side by side; print the table and what it says."""
    league = importlib.import_module("casnkit.explain.league")
    folder, model, info = open_network(options.run, ck.runs.pick_device(options.device))
    dataset, out = ck.open_dataset(options.data or info.data["root"] or "people"), options.out or folder / "league"
    found = league.run_league(
        model, dataset, info.config, options.methods, options.pairs, options.seed, out=out, steps=options.steps
    )
    print(league.league_table(found), *league.findings(found), f"results: {out / 'league.json'}", sep="\n")


def _say_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    with contextlib.suppress(ValueError):  # a closed stream
        print(f"note: {message}", file=sys.stderr)


COMMANDS: dict[str, str | Callable[[Any], None]] = {  # each is described by add_parser of a module, or a function here
    "demo": "casnkit.notebook.demo",
    "data": add_data,
    "train": add_train,
    "evaluate": add_evaluate,
    "ablate": "casnkit.experiments.ablation",
    "table": "casnkit.experiments.tables",
    "league": add_league,
    "doctor": "casnkit.notebook.doctor",
}

if __name__ == "__main__":
    sys.exit(main())
