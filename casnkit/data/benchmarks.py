"""``open_dataset``: every set that casnkit reads, opened by name or recognised by what lies in a folder.

Opening reads names only, never pixels. What a reader of the results must know (the variant in use, rules that are off,
files left out, people who cannot form a pair) comes back as ``dataset.notes``.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import numpy as np

from casnkit.data import cuhk03_raw, folder, layout, market, msmt17
from casnkit.data.layout import MARKET_FOLDERS, find_file, find_folders
from casnkit.data.records import UNKNOWN_CAMERA, ReidDataset, Split

NAMES = (
    "people",
    "market1501",
    "dukemtmc-reid",
    "cuhk03-np-detected",
    "cuhk03-np-labeled",
    "msmt17",
    "folder",
    "auto",
)
PEOPLE_SIZES = ("tiny", "quick", "market")


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    distractors_500k: bool = False,
    camera_pattern: str | None = None,
    require_train: bool = True,
    progress: bool = True,
) -> ReidDataset:
    """Open a data set.

    Args:
        name: one of ``NAMES``; ``"people:tiny"``, ``"people:quick"`` or ``"people:market"``; ``"auto"`` recognises what
            lies at ``root``; the path of an existing folder means ``("auto", path)``.
        root: the set's folder or one up to three levels above it. None: generated people go to ``$CASNKIT_DATA`` or
            ``~/.cache/casnkit``; the other sets are searched for in ``$CASNKIT_DATA``.
        distractors_500k: Market-1501 only: append the 500k extra distractors to the gallery.
        camera_pattern: ``folder`` only: regular expression with one group, applied to file names.
        require_train: False allows a ``folder`` set without training images (evaluation only).
        progress: show a progress bar where something is generated or extracted.

    Raises:
        ValueError: unknown name; the set is missing, incomplete, empty, or the same person is in training and test.
        ImportError: CUHK03's raw ``.mat`` files need h5py and scipy (``pip install "casnkit[raw]"``).
    """
    name, root = _resolve(name, root)
    if name == "auto":
        name, root = recognise(root)
    _refuse_unused(name, distractors_500k, camera_pattern)
    if name.startswith("people"):
        dataset = _open_people(name, root, progress)
    elif name == "folder":
        dataset = folder.open_folder(root, camera_pattern, require_train)
    elif name == "msmt17":
        dataset = msmt17.open_msmt17(root)
    elif name.startswith("cuhk03-np"):
        dataset = cuhk03_raw.open_cuhk03(name, root, progress)
    else:
        dataset = market.open_market_layout(name, root, distractors_500k)
    return verify(dataset, require_train)


def recognise(root: str | Path) -> tuple[str, Path]:
    """``(name, folder)`` of the set that lies at or below ``root``.

    Raises:
        ValueError: nothing is recognised, or several sets lie there.
    """
    root = layout.require_folder(root, "auto")
    found = {path: market.kind_of(path) for path in find_folders(root, MARKET_FOLDERS)}
    found |= {path: "people" for path in find_folders(root, ("people.part.json",))}
    found |= {path: "msmt17" for path in find_folders(root, msmt17.LISTS)}
    raw = find_file(root, cuhk03_raw.RAW_FILE)
    if raw is not None and not any(kind.startswith("cuhk03-np") for kind in found.values()):
        detected = find_file(root, cuhk03_raw.config_name("detected")) is not None
        found[raw.parent] = "cuhk03-np-detected" if detected else "cuhk03-np-labeled"
        return _only(root, found) if len(found) > 1 else (found[raw.parent], root)
    if not found and folder.looks_like_folder(root):
        return "folder", root
    return _only(root, found)


def verify(dataset: ReidDataset, require_train: bool = True) -> ReidDataset:
    """Check what every set must fulfil, and add notes on what its numbers mean. No image is read.

    Raises:
        ValueError: a split is empty, or real people (pid > 0) are both in training and in test.
    """
    splits = [dataset.train, dataset.query, dataset.gallery]
    for split in splits if require_train else splits[1:]:
        if not len(split):
            raise ValueError(
                f"{dataset.name}: the {split.name} split in {dataset.root} is empty; unpack the set again."
            )
    test = np.union1d(dataset.query.identities, dataset.gallery.identities)
    shared = np.intersect1d(dataset.train.identities, test)
    if len(shared):
        named = ", ".join(map(str, shared[:5])) + (", ..." if len(shared) > 5 else "")
        raise ValueError(
            f"{dataset.name}: {len(shared)} of {len(test)} test people are in training too (pids {named}) "
            f"in {dataset.root}. "
            "Re-identification is tested on people never trained on: move each person's images to one side."
        )
    notes = [*dataset.notes, *_notes(dataset)]
    return ReidDataset(**{**vars(dataset), "notes": tuple(notes)})


def queries_without_match(query: Split, gallery: Split) -> np.ndarray:
    """(N,) bool: queries for which the gallery holds no image of the same person from another camera."""
    cameras: dict[int, set[int]] = {}
    wanted = np.isin(gallery.pids, query.identities)
    for pid, camid in zip(gallery.pids[wanted].tolist(), gallery.camids[wanted].tolist(), strict=True):
        cameras.setdefault(pid, set()).add(camid)

    def lonely(pid: int, camid: int) -> bool:
        others = cameras.get(pid, set())
        return not others if camid == UNKNOWN_CAMERA else not others - {camid}

    return np.array(
        [lonely(*pair) for pair in zip(query.pids.tolist(), query.camids.tolist(), strict=True)], dtype=bool
    )


def _resolve(name: str, root: str | Path | None) -> tuple[str, Path]:
    kind, _, size = str(name).partition(":")
    known = name in NAMES or (kind == "people" and size in PEOPLE_SIZES)
    if not known and root is None and Path(name).expanduser().exists():
        return "auto", Path(name).expanduser()
    if not known and root is None and any(mark in str(name) for mark in "/\\."):
        return "auto", layout.require_folder(name, "auto")
    if not known:
        near = difflib.get_close_matches(str(name).lower(), NAMES, n=1, cutoff=0.3)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        sizes = ", ".join(f"people:{size}" for size in PEOPLE_SIZES)
        raise ValueError(
            f"expected the name of a data set ({', '.join(NAMES)}; {sizes}) or an existing folder, "
            f"got {str(name)!r}.{hint}"
        )
    if root is None and kind == "people":
        from .people import PEOPLE_VERSION  # in the folder's name, so that an older version is never in the way

        base = os.environ.get("CASNKIT_DATA") or Path.home() / ".cache" / "casnkit"
        return f"people:{size or 'quick'}", Path(base).expanduser() / f"people-{size or 'quick'}-{PEOPLE_VERSION}"
    if root is None:
        root = os.environ.get("CASNKIT_DATA")
        if not root:
            raise ValueError(
                f"{name}: expected the folder of the set: open_dataset({name!r}, root=...), --data PATH, or the "
                f"environment variable CASNKIT_DATA. {layout.where_to_get(name)}".strip()
            )
    return str(name), Path(root).expanduser()


def _open_people(name: str, root: Path, progress: bool) -> ReidDataset:
    """Open generated people; a named size, or a folder that is empty or missing, is generated first."""
    size = name.partition(":")[2]
    fresh = not root.exists() or (root.is_dir() and not any(root.iterdir()))
    if size or fresh:
        from casnkit.data.people import synthesize

        root = synthesize(root, size=size or "quick", progress=progress)
    return market.open_people(root)


def _only(root: Path, found: dict[Path, str]) -> tuple[str, Path]:
    if not found:
        expected = "the folders of one of " + ", ".join(NAMES[:-1])
        message = layout.missing_message("folder", root, MARKET_FOLDERS, expected)
        raise ValueError(message.replace("folder:", "nothing recognised:", 1))
    detected = [path for path, kind in found.items() if kind == "cuhk03-np-detected"]
    variants = {path.parent for path in found} if all(k.startswith("cuhk03-np") for k in found.values()) else set()
    if len(found) > 1 and len(variants) == 1 and len(detected) == 1:
        return "cuhk03-np-detected", detected[0]
    if len(found) > 1:
        listed = "; ".join(f"{path} ({kind})" for path, kind in list(found.items())[:6])
        raise ValueError(f"{len(found)} sets lie below {root}: {listed}. Give the folder of one of them.")
    path, kind = next(iter(found.items()))
    return kind, path


def _refuse_unused(name: str, distractors_500k: bool, camera_pattern: str | None) -> None:
    if camera_pattern is not None and name != "folder":
        raise ValueError(f"camera_pattern is for own pictures ('folder'); {name} has cameras in its file names.")
    if distractors_500k and name != "market1501":
        raise ValueError(f"distractors_500k=True belongs to market1501, got {name}.")


def _notes(dataset: ReidDataset) -> list[str]:
    notes = []
    _, counts = np.unique(dataset.train.pids, return_counts=True)
    if (counts == 1).any():
        notes.append(
            f"{int((counts == 1).sum())} of {len(counts)} training people have one image: they form no positive pair"
        )
    lonely = int(queries_without_match(dataset.query, dataset.gallery).sum())
    if lonely:
        notes.append(
            f"{lonely} of {len(dataset.query)} queries have no match in the gallery: they are left out of the means"
        )
    return notes
