"""What several figures draw."""

import matplotlib.pyplot as plt
import pytest

from gfe_companion.studies.drawing import style, wrapped

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
