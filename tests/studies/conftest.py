"""What tests of studies share."""

import matplotlib.pyplot as plt
import pytest

from gfe_companion.runs.profiles import Setting


@pytest.fixture
def setting():
    """The smoke size on the images that are shipped; what a test has drawn is closed."""
    yield Setting.of("smoke", "embedded", device="cpu")
    plt.close("all")
