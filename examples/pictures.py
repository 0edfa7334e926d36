"""What the examples share: pictures cut to one size, an output folder that loses nothing, and a figure of rows."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images
from torch import Tensor


def arguments(doc: str, name: str, images: int) -> ArgumentParser:
    """The options that all examples have."""
    parser = ArgumentParser(description=doc)
    parser.add_argument("--out", type=Path, default=Path("examples_out", name), help="a new folder (%(default)s)")
    parser.add_argument("--images", type=int, default=images, help="training images to see in all (%(default)s)")
    return parser


def new_folder(folder: Path) -> Path:
    """``folder``, made now. What is there already is left alone."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SystemExit(f"{folder} is there already; pass a new folder with --out, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cut(picture: Image.Image, size: int) -> Tensor:
    """A picture of any size and mode as colours (3, size, size) in [0, 1]: its middle, on white where transparent."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # more than 8 bits a pixel
        values = np.asarray(picture, dtype=float)
        scale = 255 if 1 < values.max() < 256 else 65535 if values.max() > 1 else 1
        picture = Image.fromarray((255 * np.clip(values / scale, 0, 1)).astype(np.uint8))
    picture = picture.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    pixels = np.array(ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def photographs(count: int, size: int, held_out: bool = False) -> Tensor:
    """Squares of scikit-learn's two photographs (count, 3, size, size); those held out are from the right 40 %."""
    pictures, draw, squares = load_sample_images().images, np.random.default_rng(int(held_out)), []
    for number in range(count):
        picture = pictures[number % 2]
        height, width, _ = picture.shape
        side, border = int(draw.integers(2 * size, 5 * size)), 6 * width // 10
        left = draw.integers(border, width - side) if held_out else draw.integers(border - side)
        top = draw.integers(height - side)
        squares.append(cut(Image.fromarray(picture[top : top + side, left : left + side]), size))
    return torch.stack(squares)


def draw_rows(rows: dict[str, Tensor], path: Path, titles: Sequence[str] = ()) -> None:
    """A row for each entry, its pictures (n, 3, H, W) or (n, H, W) and its name; ``titles`` stand above the columns."""
    size = (1.2 + 0.8 * len(next(iter(rows.values()))), 0.4 * bool(titles) + 0.8 * len(rows))
    figure = plt.figure(figsize=size, layout="constrained")
    places = figure.subplots(len(rows), len(next(iter(rows.values()))), squeeze=False)
    for beside, (name, pictures) in zip(places, rows.items(), strict=True):
        for place, picture in zip(beside, pictures.detach().clamp(0, 1), strict=True):
            place.imshow(picture if picture.ndim == 2 else picture.permute(1, 2, 0), cmap="gray", vmin=0, vmax=1)
            place.axis("off")
        beside[0].text(-0.15, 0.5, name, ha="right", va="center", transform=beside[0].transAxes)
    for place, title in zip(places[0], titles, strict=False):
        place.set_title(title, fontsize="medium")
    figure.savefig(path, dpi=200)
    plt.close(figure)
