"""``casnkit inspect``: the inspector in the browser, by a network of the kit, without training and without a notebook."""

import argparse
import contextlib
import importlib.util
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import casnkit as ck
from casnkit.data import ReidDataset, Split, open_dataset
from casnkit.data.files import read_json, write_json
from casnkit.data.records import NO_TRUTH
from casnkit.inspector.notes import Notes

KIT = Path(__file__).parents[1] / "experiments" / "weights"  # networks; the command loads no torch, the kernel does
CELL = """# Shift and Enter: the inspector appears below
from casnkit.inspector.command import show
show({what!r}, {device!r}, {out!r})"""


def add_parser(group: Any) -> None:
    """The command's options."""
    parser = group.add_parser("inspect", help="look at pairs in the browser: where a network looks, what it confuses")
    words = "a run's folder or a network of the kit (default: gap-casn), then data or two and more pictures (default: people)"
    parser.add_argument("what", nargs="*", help=words)
    parser.add_argument("--out", type=Path, default=Path("inspector"), help="folder for notes; default: inspector")
    parser.add_argument("--no-browser", action="store_true", help="print the address alone")
    parser.set_defaults(command=command)


def chosen(what: Sequence[str]) -> tuple[str, ReidDataset]:
    """The run and the data of ``[RUN] [DATA | PICTURE PICTURE ...]``. Raises ValueError for what is neither."""
    what = list(map(str, what))
    named = what and any((place / what[0] / "run.json").is_file() for place in (Path(), KIT))
    run = what.pop(0) if named else "gap-casn"
    if len(what) == 1 and not Path(what[0]).is_file():
        return run, open_dataset(what[0])
    return run, of_pictures(what) if what else open_dataset("people")


def show(what: Sequence[str], device: str | None = None, out: str | Path = "inspector") -> Any:
    """The inspector's screen, for a notebook; where there can be none, one sentence says why."""
    try:
        run, data = chosen(what)
        return ck.Inspector({Path(run).name: run}, data, device=device, out=out).viewer
    except (ValueError, OSError) as error:
        return print(f"casnkit: {error}")


def of_pictures(paths: Sequence[str]) -> ReidDataset:
    """Some pictures of which nobody knows who is who: each is a query, and all others are its gallery."""
    if len(paths) < 2:
        raise ValueError(f"expected a data set's folder or at least two pictures, got {', '.join(paths)}")
    files = [Path(path).expanduser().absolute() for path in paths]
    split = Split(list(map(str, files)), range(1, len(files) + 1), [1] * len(files), "query")
    for i in range(len(files)):
        split.image(i)  # one that cannot be read is named at the door
    return ReidDataset(NO_TRUTH, files[0].parent, Split([], [], [], "train"), split, split)


def command(options: argparse.Namespace) -> None:
    """Write a small notebook into a temporary folder, and serve it by voila where it is installed, else by JupyterLab."""
    device, out = options.device, options.out.expanduser().absolute()
    what = [str(Path(name).absolute()) if Path(name).exists() else name for name in options.what]
    Notes(out / "notes.json")  # these are refused before a server runs; weights are read, and refused, in the page
    read_json(KIT / chosen(what)[0] / "run.json")  # an absolute path stays one
    if device:
        ck.runs.pick_device(device)
    cell = {"cell_type": "code", "id": "inspector", "metadata": {}, "outputs": [], "execution_count": None}
    cell["source"] = CELL.format(what=what, device=device, out=str(out))
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": [cell]}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port, token = probe.getsockname()[1], secrets.token_hex(16)
    if importlib.util.find_spec("voila"):
        serve, address, press = ["voila", "inspector.ipynb", f"--port={port}"], f"http://127.0.0.1:{port}/", ""
    else:
        serve = ["jupyterlab", "inspector.ipynb", f"--ServerApp.port={port}", f"--IdentityProvider.token={token}"]
        address = f"http://127.0.0.1:{port}/lab/tree/inspector.ipynb?token={token}"
        press = "Press Shift and Enter in the page that opens. (With `pip install voila` it needs no key.)\n"
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="casnkit-") as folder:
        write_json(Path(folder) / "inspector.ipynb", notebook)
        print(f"the inspector: {address}\n{press}Ctrl-C stops it.", flush=True)
        with open(Path(folder) / "log.txt", "w+") as log, contextlib.ExitStack() as end:
            arguments = [sys.executable, "-m", *serve, *["--no-browser"] * options.no_browser]
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the server too, as Ctrl-C does
            end.callback(signal.signal, signal.SIGTERM, before)
            server = subprocess.Popen(arguments, cwd=folder, stderr=log)
            end.callback(server.wait)
            end.callback(server.terminate)
            if status := server.wait():
                log.seek(0)
                raise ValueError(f"the server stopped with status {status}: {log.read()[-500:]}")
