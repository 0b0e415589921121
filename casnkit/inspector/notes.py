"""Notes and tags of queries, and named choices of queries, in one small JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casnkit.data.files import read_json, write_json

FORMAT = 1


@dataclass(frozen=True)
class Note:
    """What was written of one query."""

    text: str = ""
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text.strip() or self.tags)


class Notes:
    """Notes by file name, presets by name; saved after every change.

    Args:
        path: the JSON file; one that is damaged is an error, and is never overwritten.

    Raises:
        ValueError: the file is no JSON, or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.notes: dict[str, Note] = {}
        self.presets: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._take(read_json(self.path))

    def get(self, name: str) -> Note:
        """The note on a picture; an empty one where there is none."""
        return self.notes.get(name, Note())

    def put(self, name: str, text: str, tags: str | tuple[str, ...] = ()) -> Note:
        """Write a note (tags: a tuple, or text with commas between) and save; an empty one is removed."""
        tags = tuple(tags.split(",")) if isinstance(tags, str) else tags
        note = Note(text, tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())))
        changed = {key: value for key, value in self.notes.items() if key != name}
        if note:
            changed[name] = note
        self._save(changed, self.presets)
        self.notes = changed
        return note

    def put_preset(self, name: str, settings: dict[str, Any]) -> None:
        """Keep a choice of queries (filter, its number, order) under a name."""
        if not name.strip():
            raise ValueError("a preset needs a name")
        changed = {**self.presets, name.strip(): dict(settings)}
        self._save(self.notes, changed)
        self.presets = changed

    def tags(self) -> list[str]:
        """All tags, sorted."""
        return sorted({tag for note in self.notes.values() for tag in note.tags})

    def _save(self, notes: dict[str, Note], presets: dict[str, dict[str, Any]]) -> None:
        plain = {name: {"text": note.text, "tags": list(note.tags)} for name, note in sorted(notes.items())}
        write_json(self.path, {"format": FORMAT, "notes": plain, "presets": presets})

    def _take(self, values: Any) -> None:
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ValueError(f"{self.path}: expected notes of the inspector (format {FORMAT}), found something else")
        try:
            self.notes = {str(k): Note(str(v["text"]), tuple(map(str, v["tags"]))) for k, v in values["notes"].items()}
            self.presets = {str(k): dict(v) for k, v in values["presets"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.path}: expected notes of the inspector, found something else ({error})") from error
