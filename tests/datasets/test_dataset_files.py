"""Published files are checked byte for byte, named when wrong, and replaced only loudly or on demand."""

import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from gfe_companion.datasets import REGISTRY, DataError, Source, StandInWarning, check, download, files, load, locate

REAL = os.environ.get("GFE_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="GFE_DATA names no folder with the real data sets")
UNUSED = Path("unused")


def no_network(monkeypatch):
    def fails(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(download, "build_opener", fails)


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def test_files_are_read_and_split(folder):
    got = load("mnist", locate(str(folder), "mnist", UNUSED))
    assert (got.name, got.title, got.stand_in, got.caution) == ("mnist", "MNIST", False, "")
    assert got.md5 == REGISTRY["mnist"].files.md5
    assert [len(part.images) for part in (got.train, got.validation, got.test)] == [8, 4, 5]
    assert got.train.images.dtype == torch.float32
    assert got.train.images.shape[1] == 784
    stored = (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").read_bytes()[16:]
    torch.testing.assert_close(got.train.images[0], torch.tensor(list(stored[:784])) / 255)
    assert got.validation.labels.tolist() == [8, 9, 0, 1]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "unreadable"])
def test_a_wrong_file_is_named_with_the_remedy_and_not_used(folder, monkeypatch, damage):
    file = folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.unlink()
    if damage == "unreadable":
        file.mkdir()
    elif damage != "missing":
        file.write_bytes(content if damage == "flipped" else content[:-1])
    said = f"{file} " + {"missing": "is missing: ", "unreadable": "cannot be read .*: "}.get(damage, "is damaged.*: ")
    said += "put the published file there"
    monkeypatch.setattr(download, "download", lambda *_: pytest.fail("some files are there: nothing is downloaded"))
    with pytest.raises(DataError, match=f"{said}.*--data embedded"):
        locate(str(folder), "mnist", UNUSED)
    with pytest.raises(DataError, match=f"{said}, or delete the folder {folder / 'MNIST'} and run again"):
        locate("auto", "mnist", folder)
    for use in (lambda: load("mnist", Source(folder)), lambda: check(folder, "mnist")):
        with pytest.raises(DataError, match=said):
            use()


def test_what_is_not_checked_is_not_read(folder):
    """torchvision itself would prefer this folder of its older versions."""
    (processed := folder / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(3, 28, 28), torch.zeros(3)), processed / name)
    assert len(load("mnist", Source(folder)).test.labels) == 5


def test_files_are_hashed_and_read_once_until_they_change(folder, monkeypatch):
    first = load("mnist", Source(folder))
    with monkeypatch.context() as patch:
        patch.setattr(files.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert load("mnist", locate(str(folder), "mnist", UNUSED)) is first
    file = folder / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-labels"):
        load("mnist", Source(folder))


def test_a_named_folder_never_falls_back(folder, monkeypatch, project):
    no_network(monkeypatch)
    for named in (str(project), ""):
        with pytest.raises(DataError, match="train-images-idx3-ubyte is missing"):
            locate(named, "mnist", folder)
    monkeypatch.setenv("GFE_DATA", str(project))
    with pytest.raises(DataError, match="train-images-idx3-ubyte is missing"):
        locate("auto", "mnist", folder)


def test_auto_takes_the_environment_then_the_projects_folder(folder, monkeypatch, project):
    no_network(monkeypatch)
    assert locate("auto", "mnist", folder) == Source(folder)
    monkeypatch.setenv("GFE_DATA", str(folder))
    assert locate("auto", "mnist", project) == Source(folder)
    assert locate("embedded", "mnist", folder) == Source(None)
    assert not project.exists()


def test_with_no_files_and_no_network_embedded_images_come_loudly_each_time(folder, monkeypatch, project):
    no_network(monkeypatch)
    for _ in range(2):
        with pytest.warns(StandInWarning) as caught:
            assert locate("auto", "mnist", project).embedded
        said = str(caught[0].message)
        for part in (*REGISTRY["mnist"].files.md5, "Name or service not known", "GFE_DATA", "--data embedded"):
            assert part in said
        assert 'EMBEDDED IMAGES ARE USED INSTEAD ("MNIST, 5,000 images")' in said
        assert str(project / "MNIST" / "raw") in said
        assert caught[0].filename == __file__
        assert visible(project) == []


def test_a_folder_that_cannot_be_made_is_a_failed_download(folder, project):
    project.write_text("a file where the folder should be")
    with pytest.warns(StandInWarning, match="File exists"):
        assert locate("auto", "mnist", project).embedded


@needs_real_data
@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_real_data_has_the_protocols_splits(name, title):
    got = load(name, locate("auto", name, UNUSED))
    assert got.title == title
    assert [len(part.labels) for part in (got.train, got.validation, got.test)] == [50_000, 10_000, 10_000]
    assert got.test.labels.bincount().min() > 800
