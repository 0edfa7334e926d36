"""What a notebook's parameters may say, and what they come to."""

import os

import pytest

from gfe_companion.runs.profiles import Setting


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="smoke, quick, paper"):
        Setting.of("large")
    with pytest.raises(ValueError, match="auto, cpu and cuda"):
        Setting.of("smoke", device="tpu")
    assert Setting.of("smoke", seeds="3,4").seeds == (3, 4)


def test_runs_on_a_gpu_go_one_after_another_unless_told_otherwise(monkeypatch):
    """Their clock is the wall's."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Setting.of("smoke", device="cuda").jobs == 1
    assert Setting.of("smoke", device="cuda", jobs=3).jobs == 3
    assert Setting.of("smoke", device="cpu").jobs == os.cpu_count()
