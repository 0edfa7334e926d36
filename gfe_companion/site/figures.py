"""The figures and tables that the pages of the report show, with the files that readers can take along."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import PIL.Image

FOLDER = "figures"  # within the report


@dataclass(frozen=True)
class Shown:
    """A figure or table of the page ``stem`` . ``files``: their addresses by kind, such as "PDF".

    Of a figure also: ``alt``, what it shows in words . ``size`` in pixels . ``still``: its address where it moves.
    """

    name: str
    stem: str
    alt: str = ""
    size: tuple[int, int] | None = None
    still: str = ""
    files: dict[str, str] = field(default_factory=dict)


def collected(notebooks: dict[str, nbformat.NotebookNode], figures: Path, report: Path) -> dict[str, Shown]:
    """Every figure and table of ``notebooks`` by name, in their order; its files are put into ``report``.

    A picture is the one that its notebook shows; the other files are those of the profile's ``figures``.
    """
    (report / FOLDER).mkdir(parents=True)
    shown = {}
    for stem, notebook in notebooks.items():
        for name, output in made(notebook):
            files = {}
            if encoded := output.get("data", {}).get("image/png"):
                picture = base64.b64decode(encoded)
                (report / FOLDER / f"{name}.png").write_bytes(picture)
                files["PNG"] = f"{FOLDER}/{name}.png"
            for kind in ("pdf", "csv"):
                if (path := figures / f"{name}.{kind}").exists():
                    shutil.copy(path, report / FOLDER)
                    files[kind.upper()] = f"{FOLDER}/{path.name}"
            if not encoded:
                shown[name] = Shown(name, stem, files=files)
                continue
            alt = output.metadata.get("image/png", {}).get("alt", "")
            size, still = _looked_at(picture, report / FOLDER / f"{name}.still.png")
            shown[name] = Shown(name, stem, alt, size, still, files)
    return shown


def made(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """The outputs of ``notebook`` that stand for files, each with the name of its files."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("made", {}).get("name"):
                yield name, output


def _looked_at(picture: bytes, still: Path) -> tuple[tuple[int, int], str]:
    """The size of ``picture``, and where it moves the address of the one that does not, written to ``still``."""
    with PIL.Image.open(io.BytesIO(picture)) as image:
        if getattr(image, "n_frames", 1) == 1:
            return image.size, ""
        image.convert("RGB").save(still)
        return image.size, f"{FOLDER}/{still.name}"
