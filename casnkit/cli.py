"""The command line: the same work as the notebooks, without one.

Every command prints what it did and where the results lie; bad input ends with one sentence and exit status 2, an
interruption with the command that goes on and status 130.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__, commands, pages
from .config import PROFILES, VARIANTS

LABORATORY = {  # commands that live beside their work, and are loaded when they are asked for
    "ablate": "ablation.command",
    "table": "tables.command",
    "league": "explain.league_command",
    "ship": "shipped",
    "doctor": "doctor",
    "slides": "slides",
    "renew": "renew",
}
DATA_HELP = "a folder with a benchmark or one's own pictures, or 'people' (drawn, the default)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(arguments[0] if arguments else "").parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            status = int(options.command(options) or 0)
            if getattr(options, "publish", False):
                pages.renew_pages(Path())
            return status
    except KeyboardInterrupt:
        print("\nstopped. Finished epochs are kept: the same command goes on from there.", file=sys.stderr)
        return 130
    except (ValueError, ImportError) as error:
        print(f"casnkit: {error}", file=sys.stderr)
        return 2


def _say_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    print(f"note: {message}", file=sys.stderr)


def parser(command: str = "") -> argparse.ArgumentParser:
    """The commands and their options; where ``command`` is given, only what it needs is loaded."""
    top = argparse.ArgumentParser(prog="casnkit", description=__doc__.split("\n")[0])
    top.add_argument("--version", action="version", version=f"casnkit {__version__}")
    group = top.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(group)
    _add_data(group)
    _add_train(group)
    _add_evaluate(group)
    _add_bench(group)
    others = [LABORATORY[command]] if command in LABORATORY else LABORATORY.values()
    for module in others if command not in group.choices else ():
        importlib.import_module(f".{module}", __package__).add_parser(group)
    return top


def _add_demo(group: Any) -> None:
    demo = group.add_parser("demo", help="draw people, train the baseline and CASN, compare them, save pictures")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for runs, results and pictures")
    demo.add_argument("--profile", choices=PROFILES[:2], default="quick", help="smoke takes seconds, quick minutes")
    demo.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    demo.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    demo.set_defaults(command=commands.demonstrate)


def _add_data(group: Any) -> None:
    data = group.add_parser("data", help="draw a data set, or check one").add_subparsers(required=True, metavar="WHAT")
    synthesize = data.add_parser("synthesize", help="draw people in Market-1501's layout, with masks and part maps")
    synthesize.add_argument("--out", type=Path, required=True, help="folder to write to")
    synthesize.add_argument("--size", default="quick", help="tiny, quick or market (default: quick)")
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.add_argument("--processes", type=int, help="default: one for each processor; changes no byte")
    synthesize.set_defaults(command=commands.draw_people)
    check = data.add_parser("check", help="recognise a folder, compare counts, name unreadable pictures")
    check.add_argument("path", type=Path)
    check.add_argument("--name", default="auto", help="what it should be, e.g. market1501; default: recognised")
    check.set_defaults(command=commands.check_data)


def _add_train(group: Any) -> None:
    train = group.add_parser("train", help="train one network, or go on with a run that was stopped")
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
    train.set_defaults(command=commands.train_network)


def _add_evaluate(group: Any) -> None:
    evaluate = group.add_parser("evaluate", help="rank a gallery with a trained network; table and pictures")
    evaluate.add_argument("--run", type=Path, help="the run's folder; default: the newest below runs/")
    evaluate.add_argument("--data", help=DATA_HELP + "; default: what the run was trained on")
    evaluate.add_argument("--pictures", type=int, default=4, help="queries to draw; 0 for none")
    evaluate.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    evaluate.set_defaults(command=commands.evaluate_run)


def _add_bench(group: Any) -> None:
    bench = group.add_parser("bench", help="measure speed as ratios, side by side")
    bench.add_argument(
        "what", choices=("attention", "train", "ranking", "explain", "inspector"), help="what to measure"
    )
    bench.add_argument("--out", type=Path, help="write the figures to this JSON file")
    bench.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    bench.add_argument("--publish", action="store_true", help="renew figures/ and the pages' numbers in this folder")
    bench.add_argument("--quick", action="store_true", help="small sizes, for a look in seconds")
    bench.set_defaults(command=commands.measure_speed)


if __name__ == "__main__":
    sys.exit(main())
