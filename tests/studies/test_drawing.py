"""What several figures draw."""

import matplotlib.pyplot as plt
import pytest

from gfe_companion.studies.drawing import plain, plain_ticks, style, wrapped

TITLE = "A data set with a name that nobody would want to write above a panel, 1,234,567 images"


@pytest.mark.parametrize("title", [TITLE, "W" * 60], ids=["words", "one long word"])
@pytest.mark.parametrize(("inches", "size"), [(1.5, 8), (3.0, 8), (3.0, "medium")])
def test_a_wrapped_title_is_as_wide_as_allowed_and_no_wider(title, inches, size):
    style()
    figure = plt.figure()
    lines = wrapped(title, inches, size).split("\n")
    widths = [figure.text(0, 0, line, fontsize=size).get_window_extent().width / figure.dpi for line in lines]
    plt.close(figure)
    assert max(widths) <= 1.02 * inches  # the renderer rounds glyphs to pixels
    assert max(widths) > 0.7 * inches
    assert "".join(lines).replace(" ", "") == title.replace(" ", "")


@pytest.mark.parametrize("title", ["MNIST", ""])
def test_a_title_that_fits_stays_as_it_is(title):
    assert wrapped(title) == title


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"), (1, "1"), (0.003, "0.003"), (30_000, "30,000"), (1e7, "$10^{7}$"), (3e-8, "$3 \\times 10^{-8}$"),
        (100, "100"), (-0.5, "-0.5"),
    ],
)  # fmt: skip
def test_ticks_say_plain_numbers(value, said):
    assert plain(value) == said


@pytest.mark.parametrize(("low", "high", "some"), [(0.001, 1e4, "10"), (20, 400, "30"), (0.12, 0.9, "0.5")])
def test_a_logarithmic_axis_has_ticks_however_little_it_spans(low, high, some):
    figure, axes = plt.subplots()
    axes.plot([1, 2], [low, high])
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    figure.draw_without_rendering()
    said = [label.get_text() for label in axes.get_yticklabels()]
    plt.close(figure)
    assert some in said and not any("e" in each for each in said)
