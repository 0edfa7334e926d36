"""Letters drawn in the fonts that matplotlib ships: a stand-in with ten classes and thousands of grey images."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gfe_companion.datasets.base import Split, Splits

if TYPE_CHECKING:
    from PIL.Image import Image

LETTERS = "ABCDEFGHIJ"
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmmi10", "cmss10", "cmtt10", "cmsy10",
)  # fmt: skip
SIZES = (10_000, 1_000, 2_000)  # to learn from, to validate, to test
STROKES = (0, 1)  # pixels, before halving, by which a letter's outline is thickened
SIDE = 56  # images are drawn at twice their size, and halved


@cache
def letters() -> Splits:
    """10,000 images of the letters A to J to learn from, 1,000 to validate, 2,000 to test; labels 0 to 9.

    Each has its own font, weight, grey level, and affine map: rotation, slant, scale and shift. Each letter has the
    same share of every split, and every ten images in a row are one of each. Takes about a second.
    """
    from PIL.Image import Resampling, Transform  # needed for this data set only

    count, draw = sum(SIZES), np.random.RandomState(0)  # the generator whose numbers never change
    drawn, labels = _drawn(), np.arange(count) % len(LETTERS)
    styles, greys = draw.randint(len(drawn[0]), size=count), draw.uniform(0.55, 1.0, size=count)
    images = np.empty((count, SIDE // 2, SIDE // 2))
    for i, into in enumerate(_maps(draw, count)):
        letter = drawn[labels[i]][styles[i]]
        image = letter.transform((SIDE, SIDE), Transform.AFFINE, tuple(into), Resampling.BILINEAR)
        images[i] = greys[i] * np.asarray(image.reduce(2))
    pixels = torch.tensor(np.rint(images).astype(np.uint8)).flatten(1).float().div_(255)
    train, validation, test = map(Split, pixels.split(SIZES), torch.tensor(labels).split(SIZES))
    return train, validation, test


def _drawn() -> list[list[Image]]:
    """Each letter in each style: white on black, in the middle of a square of twice :data:`SIDE` pixels."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(folder / f"{name}.ttf", 48, layout_engine=ImageFont.Layout.BASIC) for name in FONTS]

    def image(letter: str, font: ImageFont.FreeTypeFont, stroke: int) -> Image.Image:
        square = Image.new("L", (2 * SIDE, 2 * SIDE))
        left, top, right, bottom = font.getbbox(letter, stroke_width=stroke)
        corner = (round(SIDE - (left + right) / 2), round(SIDE - (top + bottom) / 2))
        ImageDraw.Draw(square).text(corner, letter, 255, font, stroke_width=stroke)
        return square

    return [[image(letter, font, stroke) for font in fonts for stroke in STROKES] for letter in LETTERS]


def _maps(draw: np.random.RandomState, count: int) -> np.ndarray:
    """Affine maps (count, 6) from a pixel of the image to one of the drawn letter: around both centres, and a shift."""
    angle, slant = draw.uniform(-0.25, 0.25, count), draw.uniform(-0.3, 0.3, count)  # radians, and a part of the height
    wide, high = draw.uniform(0.8, 1.2, (2, count))
    shift = draw.uniform(-4, 4, (2, count))  # pixels, before halving
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = cos / wide, sin / wide
    d, e = slant * a - sin / high, slant * b + cos / high
    x, y = shift - SIDE / 2
    return np.stack([a, b, SIDE + a * x + b * y, d, e, SIDE + d * x + e * y], axis=1)
