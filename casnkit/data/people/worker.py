"""Drawing in several processes.

A worker is a fresh Python that imports this folder and nothing above it: the package's own import brings torch, which
takes longer than drawing a thousand people. It needs no guarded main module either, so it works from any script, a
notebook or a prompt. Parent to worker: one JSON order on stdin; worker to parent: one line per chunk on stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

_FULL = "no room: "  # how a worker tells that the disk is full


class WorkerError(RuntimeError):
    """A worker ended without finishing its share; ``full`` where the disk was the reason."""

    def __init__(self, message: str, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


def run_workers(order: dict[str, Any], numbers: list[int], processes: int) -> Iterator[int]:
    """Have ``processes`` workers make the jobs ``numbers``; yields how many images each finished chunk had.

    Closing the generator, an error or Ctrl-C ends the workers.

    Raises:
        WorkerError: one of them failed.
    """
    queue: SimpleQueue[tuple[int, str]] = SimpleQueue()
    workers: list[subprocess.Popen] = []
    running = set(range(processes))
    try:
        for i in range(processes):
            workers.append(_start(order | {"numbers": numbers[i::processes]}, i, queue))
        while running:
            which, line = queue.get()
            if line.startswith(_FULL):
                raise WorkerError(line[len(_FULL) :].strip(), full=True)
            if line:
                yield int(line)
                continue
            running.discard(which)
            if workers[which].wait() != 0:
                raise WorkerError(f"worker {which} ended with code {workers[which].returncode}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start(order: dict[str, Any], which: int, queue: SimpleQueue) -> subprocess.Popen:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        worker = subprocess.Popen(
            [sys.executable or "python", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
    except OSError as error:
        raise WorkerError(f"worker {which} could not be started ({error})") from error
    with contextlib.suppress(OSError):  # a worker that died at once is noticed by its exit code
        worker.stdin.write(json.dumps(order))
        worker.stdin.close()

    def listen() -> None:
        with worker.stdout:
            for line in worker.stdout:
                queue.put((which, line))
        queue.put((which, ""))

    threading.Thread(target=listen, daemon=True).start()
    return worker


def _work() -> None:
    package = Path(__file__).resolve().parents[2]
    for name, folder in (("casnkit", package), ("casnkit.data", package / "data")):
        stub = ModuleType(name)  # the folder without its __init__
        stub.__path__ = [str(folder)]
        sys.modules[name] = stub
    from casnkit.data.files import DiskFullError
    from casnkit.data.people.synthesize import carry_out

    try:
        for made in carry_out(json.loads(sys.stdin.read())):
            print(made, flush=True)
    except DiskFullError as error:
        print(_FULL + str(error).replace("\n", " "), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):  # the parent was stopped or is gone: so is the reason to draw
        sys.exit(130)


if __name__ == "__main__":
    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    _work()
