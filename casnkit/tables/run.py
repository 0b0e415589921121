"""Train and test what a table still lacks. Stopped anywhere, the same call goes on there: a run whose results fit is left
alone, a finished training is only tested, an unfinished one resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from casnkit import evaluation, runs
from casnkit.config import Config
from casnkit.data import ReidDataset
from casnkit.data.files import read_json
from casnkit.training import DivergenceError, Processes, find_processes, say_epoch, train

from .benchmarks import counts_of, open_benchmark
from .plan import Plan, Row

Say = Callable[[str], None]


def measure(
    plan: Plan, root: str | Path | None = None, device: str | None = None, say: Say | None = None, progress: bool = True
) -> dict[str, dict[str, str]]:
    """Train and test every run of a plan that is not finished; one benchmark after the other.

    Args:
        root: a folder at or above the benchmarks; default: ``$CASNKIT_DATA``.
        device: cpu or cuda; default: a GPU if there is one, or what the launcher gives each process.
        say: called in the main process with a line for each step.
        progress: show bars.

    Returns:
        ``{"missing": {benchmark: why}, "failed": {run: why}}``.

    Raises:
        ValueError: a run's folder holds another run, or the settings do not suit the data.
        KeyboardInterrupt: the state was saved.
    """
    processes = find_processes(device)
    speak = say if say and processes.is_main else _silent
    problems: dict[str, dict[str, str]] = {"missing": {}, "failed": {}}
    for benchmark in plan.benchmarks:
        try:
            dataset = open_benchmark(benchmark, root)
        except ValueError as error:
            problems["missing"][benchmark] = str(error)
            speak(f"missing: {error}")
            continue
        speak(str(dataset))
        for row, seed in ((row, seed) for row in plan.rows for seed in plan.seeds or (0,)):
            folder = plan.folder(benchmark, row, seed)
            try:
                _one(dataset, plan, row, seed, device, processes, speak, progress)
            except DivergenceError as error:
                if processes.world > 1:  # the others wait for this one: nothing can go on
                    raise
                problems["failed"][folder.name] = str(error)
                speak(f"{folder.name}: {error}")
    return problems


def _one(
    dataset: ReidDataset,
    plan: Plan,
    row: Row,
    seed: int,
    device: str | None,
    processes: Processes,
    speak: Say,
    progress: bool,
) -> None:
    folder, config = plan.folder(dataset.name, row, seed), plan.config(row, seed)
    processes.wait()  # every process must see the same files when it decides
    if is_finished(folder, config, dataset):
        speak(f"{row.name}, seed {seed}: read from {folder}")
        return
    speak(f"{row.name}, seed {seed}: {folder}")
    train(
        dataset, config, folder, device=device, progress=progress, on_epoch=say_epoch if speak is not _silent else None
    )
    model, info = runs.load_model(folder, processes.device)
    result = evaluation.evaluate(model, dataset, config, processes=processes, progress=progress)
    if processes.is_main:
        evaluation.save_results(folder, replace(result, query=None, gallery=None), dataset, info)
    processes.wait()


def is_finished(folder: Path, config: Config, dataset: ReidDataset) -> bool:
    """Whether a folder holds the results of exactly this run on exactly these images."""
    try:
        info, results = runs.read_run(folder), read_json(folder / "results.json")
    except ValueError:
        return False
    same_data = info.data["images"] == counts_of(dataset)
    return info.config == config and same_data and results_fit(results, info)


def results_fit(results: object, info: runs.RunInfo) -> bool:
    """Whether a ``results.json`` belongs to the run beside it and was made on the data that it was trained on."""
    if not isinstance(results, dict) or not results.get("rows"):
        return False
    config, images = info.config, info.data["images"]
    expected = {
        "variant": config.variant,
        "pooling": config.model.pooling,
        "seed": config.train.seed,
        "profile": config.profile,
        "data": {"name": info.data["name"], "query": images["query"], "gallery": images["gallery"]},
    }
    return all(results.get(key) == value for key, value in expected.items())


def _silent(_: str) -> None:
    return None
