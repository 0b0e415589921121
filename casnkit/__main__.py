"""The command line: the same work as the notebooks, without one. ``python -m casnkit`` is ``casnkit``.

Bad input ends with one sentence and status 2. What a command needs is loaded when it is called.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lazy_loader

import casnkit as ck
from casnkit.data.files import check_place, write_json

pd = lazy_loader.load("pandas")
DATA_HELP = "a folder with a benchmark or one's own pictures, or 'people' (drawn, the default)"
OPENING = ("name", "name_pattern", "camera_pattern", "ignore_cameras")
SETTINGS = ("backbone", "weights", "epochs", "learning_rate", "warmup", "clip_norm", "batch_size", "seed")
ONE_SEED = "One seed decides nothing: seeds differ by several points of rank-1. Go on with `casnkit demo --seeds 3`."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal shows other letters as escapes
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = parser(arguments[0] if arguments else "").parse_args(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
            status = int(options.command(options) or 0)
            print(end="", flush=True)  # the last words too can fail to be written
            return status
    except KeyboardInterrupt:
        print("\nstopped. Finished epochs are kept: rerun the command to resume.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone: nothing more can be said
        return 1
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"casnkit: {error or 'not enough memory'}", file=sys.stderr)
        return 2
    finally:
        try:
            print(end="", flush=True)
        except OSError:  # said above: Python would say it once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(command: str = "") -> argparse.ArgumentParser:
    """The commands and their options; where ``command`` is given, of that one alone."""
    top = argparse.ArgumentParser(prog="casnkit", description=__doc__.split("\n")[0])
    top.add_argument("--version", action="version", version=f"casnkit {ck.__version__}")
    group = top.add_subparsers(required=True, metavar="COMMAND")
    for name in [command] if command in COMMANDS else COMMANDS:
        describe = COMMANDS[name]
        (importlib.import_module(describe).add_parser if isinstance(describe, str) else describe)(group)
        if name != "data":
            group.choices[name].add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    return top


def _add_demo(group: Any) -> None:
    demo = group.add_parser("demo", help="draw people, train the baseline and CASN, compare them, save pictures")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for runs, results and pictures")
    demo.add_argument(
        "--profile", choices=ck.config.PROFILES[:2], default="quick", help="smoke takes seconds, quick minutes"
    )
    demo.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> None:
    if options.seeds < 1:
        raise ValueError(f"expected at least one seed, got {options.seeds}")
    out, device = options.out, ck.runs.pick_device(options.device)
    check_place(out)
    _first_look(out, device)
    dataset = ck.open_dataset(ck.experiments.PEOPLE[options.profile])
    print(dataset, flush=True)
    rows, first = [], {}
    for seed, variant in itertools.product(range(options.seeds), ("ide", "casn")):  # stopped, it goes on from there
        config = ck.profile(options.profile, variant=variant, seed=seed)
        run = out / (f"{variant}-seed{seed}" if seed else variant)  # more seeds go on from one
        print(f"\n{variant}, seed {seed}: {run}", flush=True)
        ck.training.train(dataset, config, run, device=device, on_epoch=ck.training.say_epoch)
        model, info = ck.runs.load_model(run, device)
        result = ck.evaluation.evaluate(model, dataset, config, device=device)
        ck.evaluation.save_results(run, result, info)
        *own, chance = result.rows()
        rows += [{"variant": variant, "seed": seed, **row} for row in own]
        if not seed and (place := ck.experiments.fits(config, dataset)):
            model_of_kit, _ = ck.runs.load_model(place, device)
            of_kit = ck.evaluation.evaluate(model_of_kit, dataset, config, device=device, progress=False).rows()[:-1]
            rows += [{"variant": f"{variant}, from the kit", "seed": seed, **row} for row in of_kit]
        if variant not in first:
            first[variant] = model, result, info
            ck.report.draw_report(run, result, info)
    table = over_seeds([*rows, {"variant": "chance", "seed": 0, **chance}]).to_dict("records")
    print(f"\n{dataset.name}: {len(dataset.query)} queries, {len(dataset.gallery)} gallery images, percent")
    print(ck.evaluation.table(table), *([ONE_SEED] if options.seeds == 1 else []), sep="\n", flush=True)
    print(*(f"picture: {path}" for path in ck.report.draw_comparison(out, first, dataset)), sep="\n")
    facts = {"seeds": options.seeds, "profile": options.profile, "device": str(device), "versions": ck.runs.versions()}
    write_json(out / "results.json", {"rows": table, **facts})
    print(f"results: {out / 'results.json'}")


def _first_look(out: Path, device: Any) -> None:
    """Draw a pair by a network that comes with the kit, before anything is trained."""
    print("A first look, by a network that comes with the kit:", flush=True)
    dataset, (model, info) = ck.open_dataset("people:tiny"), ck.load_shipped(device=device)
    result = ck.evaluation.evaluate(model, dataset, info.config, device=device, progress=False)
    *_, pair = ck.report.choose_pairs(dataset, result.distances["sum"]).values()
    figure = ck.report.pair_figure(model, dataset, info.config, result, *pair)
    print(
        f"picture: {ck.figures.save_figure(figure, out / 'first-look.png', alt='A pair with its Siamese maps')}",
        flush=True,
    )


def over_seeds(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Means over the seeds for each model and way of ranking; largest minus smallest where there are several seeds."""
    groups = pd.DataFrame(rows).groupby(["variant", "ranked by"], sort=False)
    table, shown = groups[["rank_1", "rank_5", "mean_ap", "mean_ap_trapezoid"]].mean(), groups[["rank_1", "mean_ap"]]
    if groups.size().max() > 1:
        table[["range of rank-1", "range of mAP"]] = shown.max() - shown.min()
    return table.assign(seeds=groups.size()).reset_index()


def add_opening(command: argparse.ArgumentParser) -> None:
    """The options that say how a folder of pictures is opened."""
    command.add_argument("--as", dest="name", metavar="NAME", help="the set, e.g. market1501; default: recognised")
    command.add_argument("--name-pattern", help="own pictures: regular expression, its groups pid and camid in names")
    command.add_argument("--camera-pattern", help="own pictures: regular expression, its group is the camera")
    command.add_argument("--ignore-cameras", action="store_true", default=None, help="each picture has its own camera")


def open_data(options: argparse.Namespace, data: str, known: Any = None) -> ck.ReidDataset:
    """The set that ``--data`` and the options of :func:`add_opening` name; ``known``: a run's options for its own set."""
    given = {name: getattr(options, name) for name in OPENING}
    how = {name: (known or {}).get(name) if value is None else value for name, value in given.items()}
    name = how.pop("name")
    return ck.open_dataset(*((name, data) if name else (data,)), **how)


def _add_data(group: Any) -> None:
    data = group.add_parser("data", help="draw a data set, or check one").add_subparsers(required=True, metavar="WHAT")
    synthesize = data.add_parser("synthesize", help="draw people in Market-1501's layout, with masks and part maps")
    synthesize.add_argument("--out", type=Path, required=True, help="folder to write to")
    synthesize.add_argument("--size", default="quick", help="tiny, quick or market (default: quick)")
    synthesize.add_argument("--seed", type=int, default=0)
    synthesize.add_argument("--processes", type=int, help="default: one for each processor; changes no byte")
    synthesize.set_defaults(command=lambda o: print(ck.data.people.synthesize(o.out, o.size, o.seed, o.processes)))
    check = data.add_parser("check", help="recognise a folder, compare counts, name unreadable pictures")
    check.add_argument("path", type=Path)
    add_opening(check)
    check.set_defaults(command=_check_data)


def _check_data(options: argparse.Namespace) -> bool:
    how = {name: getattr(options, name) for name in OPENING}
    report = ck.data.check.check(options.path, how.pop("name") or "auto", **how)
    print(report.to_text())
    return not report.ok


def _add_train(group: Any) -> None:
    train = group.add_parser("train", help="train one network, or go on with a run that was stopped")
    train.add_argument("--data", default="people", help=DATA_HELP)
    add_opening(train)
    train.add_argument("--profile", choices=ck.config.PROFILES, default="quick", help="default: quick")
    train.add_argument("--out", type=Path, help="the run's folder; default: runs/DATA-PROFILE-POOLING-VARIANT-SEED")
    train.add_argument(
        "--variant", choices=ck.config.VARIANTS, default="casn", help="which losses are on; default: casn"
    )
    train.add_argument("--pooling", choices=("gap", "stripes"), default="gap", help="gap = IDE, stripes = PCB")
    for name in SETTINGS:
        train.add_argument(f"--{name.replace('_', '-')}", help="as in casnkit/config.py; default: the profile's")
    train.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="any other field of that file")
    train.add_argument("--images", choices=("auto", "device", "memory", "disk"), default="auto", help="where they live")
    train.add_argument("--validate", type=int, default=0, metavar="N", help="hold out N people, keep the best epoch")
    train.set_defaults(command=_train)


def _train(options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("variant", "pooling", *SETTINGS)}
    given = [f"{name}={value}" for name, value in given.items() if value is not None]
    config = ck.profile(options.profile, **ck.config.assignments([*given, *options.set]))
    dataset, validate = open_data(options, options.data), None
    if why := ck.data.records.unfit(dataset, to_train=True):
        raise ValueError(why)
    name = [dataset.name, config.profile, config.model.pooling, config.variant.replace("+", "_")]
    out = options.out or Path("runs") / "-".join([*name, str(config.train.seed)])
    if options.validate:
        dataset, held_out = ck.data.hold_out(dataset, options.validate, config.train.seed)

        def validate(model: ck.CASN) -> dict[str, float]:
            device = next(model.parameters()).device
            result = ck.evaluation.evaluate(model, held_out, config, device=device, progress=False, attention=False)
            found = ck.evaluation.headline(result.rankings["features"])
            return {f"validation_{number}": found[number] for number in ("mean_ap", "rank_1")}

    say = ck.training.make_accelerator(options.device).print  # in the main process alone
    say(dataset, flush=True)
    how = {"device": options.device, "place": options.images, "validate": validate}
    ck.training.train(dataset, config, out, on_epoch=ck.training.say_epoch, **how)
    say(f"trained {config.variant} ({config.model.pooling}): {out}")
    say(f"next: casnkit evaluate --run {shlex.quote(str(out))} --data {shlex.quote(options.data)}")


def _add_evaluate(group: Any) -> None:
    evaluate = group.add_parser("evaluate", help="rank a gallery with a trained network; table and pictures")
    run_help = "the run's folder, or a network of the kit such as gap-casn; default: the newest below runs/"
    evaluate.add_argument("--run", type=Path, help=run_help)
    evaluate.add_argument("--data", help=DATA_HELP + "; default: what the run was trained on")
    add_opening(evaluate)
    evaluate.add_argument("--pictures", type=int, default=4, help="queries to draw; 0 for none")
    evaluate.add_argument("--out", type=Path, help="for results; default: the run's, or one in it for other data")
    evaluate.add_argument("--weights", choices=("last", "best"), default="last", help="last epoch, or best validation")
    evaluate.add_argument("--no-attention", action="store_true", help="rank by features alone")
    evaluate.add_argument("--shortlist", type=int, metavar="N", help="attention ranks only the N nearest by features")
    evaluate.add_argument("--rerank", action="store_true", help="features also by k-reciprocal neighbours")
    query_help = "who is this? the gallery images nearest to pictures of your own, in the place of a test"
    evaluate.add_argument("--query", nargs="+", type=Path, metavar="PICTURE", help=query_help)
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    if options.pictures < 0:
        raise ValueError(f"expected --pictures of at least 0, got {options.pictures}")
    accelerator = ck.training.make_accelerator(options.device)
    model, dataset, info, run = _open(options, accelerator.device)
    there = Path(info.data["root"] or dataset.root).resolve()  # the kit's networks name no folder
    own = there == dataset.root.resolve() and ck.runs.trained_on(info, dataset.train).any()
    out = options.out or run
    if not options.out and not own:  # each data set has its folder, so that none replaces another's results
        out = run / f"on-{dataset.name}-{ck.data.records.data_fingerprint(dataset.gallery)[:6]}"
    how: dict[str, Any] = {"attention": False if options.no_attention else None}
    if options.query:
        how |= {"shortlist": options.shortlist or 100, "device": accelerator.device}
        found = ck.evaluation.who_is(model, options.query, dataset, info.config, **how)
        print(ck.evaluation.table(found), ck.evaluation.CANDIDATES, *ck.report.save_candidates(out, found), sep="\n")
        return
    how |= {"shortlist": options.shortlist, "rerank": options.rerank, "accelerator": accelerator}
    result = ck.evaluation.evaluate(model, dataset, info.config, **how)
    if not accelerator.is_main_process:
        return
    chosen = {name: value for name, value in vars(options).items() if name in ("weights", "shortlist")}
    file = ck.evaluation.save_results(out, result, info, **chosen)
    print(dataset, f"{info.config.variant} ({info.config.model.pooling}), 1 seed, percent:", sep="\n")
    print(ck.evaluation.table(result.rows()))
    if options.shortlist:
        print(f"note: attention ranked each query's {options.shortlist} nearest by features alone, ahead of all others")
    print(*(f"note: {note}" for note in result.rankings["features"].notes), f"results: {file}", sep="\n")
    if options.pictures:
        for path in ck.report.draw_report(run, result, info, options.pictures, out):
            print(f"picture: {path}")


def _add_league(group: Any) -> None:
    league = importlib.import_module("casnkit.explain.league")

    def compare(options: argparse.Namespace) -> None:
        model, dataset, info, folder = _open(options, ck.runs.pick_device(options.device))
        out, given = options.out or folder / "league", (options.methods, options.pairs, options.seed)
        found = league.run_league(model, dataset, info.config, *given, out=out, steps=options.steps)
        print(league.league_table(found), *league.findings(found), f"results: {out / 'league.csv'}", sep="\n")

    league.add_parser(group)
    add_opening(group.choices["league"])
    group.choices["league"].set_defaults(command=compare)


def _open(options: argparse.Namespace, device: Any) -> tuple[ck.CASN, ck.ReidDataset, Any, Path]:
    """Network and data that ``--run`` and ``--data`` name, what is known of the run, and the folder for results."""
    found = sorted(Path("runs").glob("**/model.safetensors"), key=lambda file: file.stat().st_mtime)
    if options.run is None and not found:
        raise ValueError(f"found no trained run below {Path('runs').resolve()}: name one with --run, or train one")
    run = options.run or found[-1].parent
    folder = ck.experiments.results_folder(run)
    check_place(getattr(options, "out", None) or folder)
    model, info = ck.experiments.load_run(run, device, getattr(options, "weights", "last"))
    known = None if options.data else info.data.get("opening")
    dataset = open_data(options, options.data or info.data["root"] or "people", known)
    return model, dataset, info, folder


COMMANDS = {  # described by a function here, or by a module's add_parser
    "demo": _add_demo,
    "inspect": "casnkit.inspector.command",
    "data": _add_data,
    "train": _add_train,
    "evaluate": _add_evaluate,
    "ablate": "casnkit.experiments.ablation",
    "table": "casnkit.experiments.tables",
    "league": _add_league,
    "page": "casnkit.inspector.page",
    "doctor": "casnkit.notebook.doctor",
}

if __name__ == "__main__":
    sys.exit(main())
