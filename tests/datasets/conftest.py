"""A small data set in torchvision's layout, and where nothing may be downloaded from."""

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gfe_companion.datasets import REGISTRY, download
from gfe_companion.datasets.files import Files


def idx(path: Path, values: torch.Tensor) -> None:
    """Write a tensor of bytes as an IDX file."""
    path.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + bytes(values.flatten()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A whole small MNIST in torchvision's layout: 12 training images of which 8 are the pool, 5 test images."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 12), ("t10k", 5)):
        idx(raw / f"{part}-images-idx3-ubyte", torch.arange(count * 784).reshape(count, 28, 28) % 251)
        idx(raw / f"{part}-labels-idx1-ubyte", torch.arange(count) % 10)
    sums = {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in REGISTRY["mnist"].files.md5}
    monkeypatch.setitem(REGISTRY, "mnist", replace(REGISTRY["mnist"], files=Files("MNIST", sums, pool=8)))
    monkeypatch.delenv("GFE_DATA", raising=False)
    monkeypatch.setattr(download, "AGAIN_S", 0.0)
    return tmp_path


@pytest.fixture
def project(tmp_path):
    """The project's own folder of data, which is not there yet."""
    return tmp_path / "project"
