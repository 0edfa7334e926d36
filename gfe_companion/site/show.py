"""What every page does with the results of its study: say what they rest on, save them, show them, judge the claims."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import PIL.Image
import torch
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from gfe_companion.evidence.scorecard import verdicts
from gfe_companion.runs.folders import broken_off, handed_out
from gfe_companion.runs.profiles import MNIST, Setting
from gfe_companion.studies.drawing import style
from gfe_companion.studies.results import Picture, Table, Text, listed, markdown

NOT_FINITE = re.compile(r"\b(nan|inf|not finite)\b")
OLDER = ".older"  # ends the hidden file beside a figure or table that rests on runs of older code
CUT = 0.02  # inches of something beyond the edge of its figure, from which on it counts as cut off
FRAME_MS = 250  # how long a frame of a moving picture stands, in milliseconds
Result = Picture | Table | Text


class Page:
    """A notebook's page: ``page.show(result, ...)`` and ``page.verdicts("claim", ...)`` for one ``setting``.

    Making one sets the style of figures, and one thread, as the runs have.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        style()
        torch.set_num_threads(1)

    def begin(self, *datasets: str) -> None:
        """Show what the page's numbers rest on: profile, seeds, its data set and further ones, and what limits them."""
        display(Markdown(heading(self.setting, datasets)))

    def show(self, *results: Result) -> None:
        """Write each picture and table into the profile's figures, and show them all in order."""
        for result in results:
            if isinstance(result, Picture):
                save_picture(result, self.setting.figures)
            elif isinstance(result, Table):
                save_table(result, self.setting.figures)
            else:
                display(Markdown(result))

    def verdicts(self, *claims: str) -> None:
        """Show each of ``claims`` in the paper's words, its one verdict, and what was measured."""
        rests = older_files(self.setting.figures)
        display(Markdown(verdicts(self.setting, *claims) + ("\n\n" + _of_older_files(rests) if rests else "")))


def heading(setting: Setting, datasets: tuple[str, ...]) -> str:
    """What a page's numbers rest on, in Markdown: the setting's own data set comes first."""
    loaded = [setting.load(name) for name in dict.fromkeys((setting.dataset, *datasets))]
    lines = [f"Profile **{setting.profile.name}**, seeds {', '.join(map(str, setting.seeds))}."]
    lines += [
        f"- **{data.title}**: {len(data.train.images):,} images to learn from, {len(data.validation.images):,} to "
        f"validate, {len(data.test.images):,} to test.{' ' * bool(data.caution)}{data.caution}"
        for data in loaded
    ]
    if setting.dataset != MNIST:
        lines.append(
            f"- The pages show {loaded[0].title} in the place of MNIST, for which their text was written. No claim and "
            "no printed number of the paper is compared."
        )
    if setting.profile.name != "paper":
        lines.append("- Sizes are reduced: what is judged here may come out differently at the paper's sizes.")
    if len(setting.seeds) == 1:
        lines.append("- One seed gives no interval: no claim over seeds can be decided.")
    return f"{lines[0]}\n\n" + "\n".join(lines[1:])


def save_picture(picture: Picture, folder: Path) -> None:
    """Write ``picture`` as PNG, PDF and, where it has numbers, CSV into ``folder``, and show it.

    Files are written aside and renamed, so that none is ever half there.
    """
    figure, name, data = picture.figure, picture.name, picture.data
    box = None
    if mark := _mark(folder, name):
        _write_below(figure, mark)
        box = "tight"
    _whole(folder / f"{name}.png", lambda path: figure.savefig(path, format="png", bbox_inches=box))
    if box is None and _sticks_out(figure):
        box = "tight"
        _whole(folder / f"{name}.png", lambda path: figure.savefig(path, format="png", bbox_inches=box))
    if box is None and (frames := [_drawn(frame) for frame in picture.moving]):
        _whole(folder / f"{name}.png", lambda path: _animated(folder / f"{name}.png", frames, path))
    figure.set_layout_engine("none")  # the layout is found: a second time would cost as much as drawing
    metadata = {"CreationDate": None}
    _whole(folder / f"{name}.pdf", lambda path: figure.savefig(path, format="pdf", bbox_inches=box, metadata=metadata))
    if data is not None:
        _whole(folder / f"{name}.csv", lambda path: data.to_csv(path, index=False))
    plt.close(figure)
    alt = f"{picture.alt} {mark}".strip()
    display(Image((folder / f"{name}.png").read_bytes(), alt=alt), metadata=_made(folder, name))


def _sticks_out(figure: Figure) -> bool:
    """Whether something of a figure that was drawn is cut off: a layout may find no place for all of it."""
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) < -CUT


def _drawn(frame: Figure) -> PIL.Image.Image:
    """One frame of a picture that moves; it may be drawn anew for the next one."""
    drawn = io.BytesIO()
    frame.savefig(drawn, format="png")
    return PIL.Image.open(drawn).convert("RGB")


def _animated(still: Path, frames: list[PIL.Image.Image], path: Path) -> None:
    """Write an animated PNG: ``frames`` and then ``still``, a few times; ``still`` alone where nothing moves."""
    end = PIL.Image.open(still).convert("RGB")
    lengths = [FRAME_MS] * len(frames) + [20 * FRAME_MS]
    whole = {"save_all": True, "append_images": [*frames, end], "default_image": True, "duration": lengths, "loop": 3}
    end.save(path, format="PNG", optimize=True, **whole)


def _write_below(figure: Figure, line: str) -> None:
    """A small line below all that is drawn, which stays where it is; to be saved in a tight box."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found
    for legend in figure.legends:  # one outside the axes would move with the edge of the box
        corner = figure.transFigure.inverted().transform(legend.get_window_extent().min)
        legend.borderaxespad = 0
        legend.set_loc("lower left")
        legend.set_bbox_to_anchor(tuple(corner), figure.transFigure)
    figure.text(0.01, -0.01, line, fontsize=6, va="top")


def save_table(table: Table, folder: Path) -> None:
    """Write the numbers of ``table`` as CSV and what people read as Markdown into ``folder``, and show the latter."""
    notes = f"{table.notes} {_mark(folder, table.name)}".strip()
    text = f"**{table.title}**\n\n{markdown(table.shown)}\n\n{notes}\n"
    _whole(folder / f"{table.name}.csv", lambda path: table.data.to_csv(path, index=False))
    _whole(folder / f"{table.name}.md", lambda path: path.write_text(text, encoding="utf-8"))
    display(Markdown(text), metadata=_made(folder, table.name))


def older_files(folder: Path) -> list[str]:
    """The names of the figures and tables in ``folder`` that rest on runs of older code."""
    return sorted(path.name[1 : -len(OLDER)] for path in folder.glob(f".*{OLDER}"))


def _of_older_files(names: list[str]) -> str:
    return f"Rests on runs of older code, as {listed(names)} {'do' if len(names) > 1 else 'does'}."


def _mark(folder: Path, name: str) -> str:
    """A sentence where what is about to be saved as ``name`` rests on runs of older code, which a hidden file notes.

    A page that has read no runs reads what other pages saved.
    """
    changed = sorted({module for modules in handed_out.values() for module in modules})
    mark, others = "", [other for other in older_files(folder) if other != name]
    note = folder / f".{name}{OLDER}"
    if changed:
        mark = f"Rests on runs of older code: {listed(changed)} changed since."
    elif not handed_out and others:
        mark = _of_older_files(others)
    if mark:
        _whole(note, lambda path: path.write_text(mark, encoding="utf-8"))
    else:
        note.unlink(missing_ok=True)
    return f"{mark} {missing()}".strip()


def missing() -> str:
    """A sentence on the trainings whose loss did not stay finite, of which the page's results have less or nothing."""
    lost = {name: why for name, why in broken_off.items() if NOT_FINITE.search(why) and name.startswith("train-")}
    if not lost:
        return ""
    return f"Missing from where they broke off: {listed([f'{name} ({why})' for name, why in sorted(lost.items())])}."


def _made(folder: Path, name: str) -> dict:
    """What ties an output of a notebook to its files: their name, and the checksum of the numbers behind it."""
    numbers = folder / f"{name}.csv"
    checksum = hashlib.sha256(numbers.read_bytes()).hexdigest() if numbers.exists() else None
    return {"made": {"name": name, "csv_sha256": checksum}}


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)
