"""Notes and tags of pictures, and named choices of queries, in one small JSON file that several inspectors may share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from casnkit.data.files import read_json, write_json

FORMATS = (1, 2)  # 1 kept bare file names, which no picture's path is taken for
LONGEST = 10_000  # letters of a note


class Note(NamedTuple):
    """What was written of one picture."""

    text: str = ""
    tags: tuple[str, ...] = ()


class Notes:
    """Notes by the picture's path below the data set; what others wrote meanwhile is kept.

    ``path``: the JSON file; one that is damaged is a ValueError, and is never overwritten.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.notes: dict[str, Note] = {}
        self.presets: dict[str, dict[str, Any]] = {}
        self.read()

    def read(self) -> None:
        """Take what is in the file now."""
        values = read_json(self.path) if self.path.exists() else {"format": 2, "notes": {}, "presets": {}}
        try:
            if values["format"] not in FORMATS:
                raise ValueError(f"format {values['format']!r}")
            notes = {str(k): Note(str(v["text"]), tuple(map(str, v["tags"]))) for k, v in values["notes"].items()}
            presets = {str(k): dict(v) for k, v in values["presets"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.path}: expected notes of the inspector, found something else ({error})") from error
        self.notes, self.presets = notes, presets

    def put(self, key: str, text: str, tags: str | tuple[str, ...] | list[str] = ()) -> None:
        """Write a note (tags: several, or text with commas between) and save; an empty one is removed."""
        tags = tags.split(",") if isinstance(tags, str) else tags
        if not isinstance(text, str) or not all(isinstance(tag, str) for tag in tags) or len(text) > LONGEST:
            raise ValueError(f"expected a note of at most {LONGEST:,} letters and tags that are texts")
        note = Note(text, tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())))
        empty = not (text.strip() or note.tags)
        self._change(lambda: self.notes.pop(key, None) if empty else self.notes.update({key: note}))

    def tags(self) -> list[str]:
        """All tags, sorted."""
        return sorted({tag for note in self.notes.values() for tag in note.tags})

    def _change(self, change: Callable[[], object]) -> None:
        """Read, change and write, while nobody else does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=10):
                self.read()
                change()
                plain = {key: note._asdict() for key, note in sorted(self.notes.items())}
                write_json(self.path, {"format": FORMATS[-1], "notes": plain, "presets": self.presets})
        except Timeout as error:
            raise ValueError(f"{self.path} is being written by another program: try again") from error
