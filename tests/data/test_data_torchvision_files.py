"""CIFAR and MNIST as small files of the real formats, read from where torchvision looks and downloaded by HTTP."""

import functools
import http.server
import pickle
import re
import threading

import pytest
import torch
from published_data import Published

from nnray.data import CIFAR10, CIFAR100, MNIST, FashionMNIST, RandomCrop, RandomHorizontalFlip
from nnray.errors import DataError

ALL = [CIFAR10, CIFAR100, MNIST, FashionMNIST]


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server of the folder `published`."""
    handler = functools.partial(_QuietHandler, directory=tmp_path / "published")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.fixture(params=ALL, ids=lambda module: module.__name__)
def published(request, tmp_path, server, monkeypatch):
    address = f"http://127.0.0.1:{server.server_port}"
    return Published(request.param, tmp_path / "published", address, monkeypatch)


def test_what_models_must_know_fits_the_real_data_sets():
    known = [(module.in_channels, module.num_classes, module.image_size) for module in ALL]
    assert known == [(3, 10, 32), (3, 100, 32), (1, 10, 28), (1, 10, 28)]
    assert all(module.folder.startswith(("cifar-", module.__name__)) for module in ALL)


def test_files_are_read_as_they_were_written(published, tmp_path):
    published.place(tmp_path)
    splits = published.module(str(tmp_path), val_fraction=0.25).splits
    assert torch.equal(splits.test.images, torch.from_numpy(published.images["test"]))
    assert splits.test.labels.tolist() == published.labels["test"].tolist()

    total = len(published.labels["train"])
    assert len(splits.val.labels) == total // 4
    held = torch.cat([splits.train.images, splits.val.images]).flatten(1)
    labels = torch.cat([splits.train.labels, splits.val.labels])
    by_image = dict(zip(map(tuple, held.tolist()), labels.tolist(), strict=True))
    expected = published.images["train"].reshape(total, -1).tolist()
    assert by_image == dict(zip(map(tuple, expected), published.labels["train"].tolist(), strict=True))
    assert len(splits.classes) == published.module.num_classes


def test_the_validation_images_are_the_same_for_every_trial(published, tmp_path):
    published.place(tmp_path)
    first = published.module(str(tmp_path), seed=0).fingerprint()
    assert published.module(str(tmp_path), seed=1, batch_size=3).fingerprint() == first
    assert published.module(str(tmp_path), val_fraction=0.2).fingerprint() != first


def test_downloading_brings_the_same_content(published, tmp_path):
    published.place(tmp_path / "placed")
    placed = published.module(str(tmp_path / "placed")).fingerprint()
    root = tmp_path / "new" / "data"
    assert published.module(str(root), download=True).fingerprint() == placed
    for archive in published.archives:
        archive.unlink()
    assert published.module(str(root), download=False).fingerprint() == placed
    assert published.module(str(root), download=True).fingerprint() == placed


def test_files_that_are_there_are_not_downloaded_nor_is_the_folder_written(published, tmp_path):
    root = tmp_path / "data"
    published.place(root)
    published.module(str(root), download=True).setup()
    assert [path.name for path in root.iterdir()] == [published.module.folder.split("/")[0]]


def test_missing_files_are_named_with_the_remedy(published, tmp_path):
    folder = tmp_path / "data" / published.module.folder
    message = f"{published.module.__name__} is not there: no folder '{folder}'; --data.init_args.root"
    with pytest.raises(DataError, match=re.escape(message) + ".*--data.init_args.download true fetches it$"):
        published.module(str(tmp_path / "data")).setup()
    assert not (tmp_path / "data").exists()


def test_damaged_files_are_named_with_the_remedy(published, tmp_path):
    folder = published.place(tmp_path)
    name = next(iter(published.files))
    (folder / name).write_bytes(published.files[name][:-1])
    with pytest.raises(DataError, match=f"'{folder}' is incomplete or damaged .*delete that folder") as raised:
        published.module(str(tmp_path)).setup()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("published", [CIFAR10], indirect=True, ids=["CIFAR10"])
def test_a_changed_pickle_is_not_opened(published, tmp_path):
    folder = published.place(tmp_path)

    class Evil:
        def __reduce__(self):
            return (tmp_path / "opened").touch, ()

    (folder / "data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="incomplete or damaged"):
        CIFAR10(str(tmp_path)).setup()
    assert not (tmp_path / "opened").exists()


def test_a_failed_download_says_why(published, server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(
        DataError, match=rf"{published.module.__name__} cannot be downloaded to '.*': .*refused"
    ) as raised:
        published.module(str(tmp_path / "data"), download=True).setup()
    assert "\n" not in str(raised.value)


def test_a_download_to_where_one_may_not_write_says_so(published, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be downloaded to '.*/file/data': .*Not a directory"):
        published.module(str(tmp_path / "file" / "data"), download=True).setup()


def test_cifar_is_augmented_unless_one_says_otherwise():
    for module in (CIFAR10, CIFAR100):
        crop, flip = module().augment
        assert isinstance(crop, RandomCrop)
        assert crop.padding == 4
        assert isinstance(flip, RandomHorizontalFlip)
        assert module(augment=[]).augment == []
    assert MNIST().augment == FashionMNIST().augment == []


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1], ids=str)
def test_a_fraction_that_leaves_a_part_empty_is_refused(fraction):
    with pytest.raises(DataError, match=f"val_fraction must be between 0 and 1, got {fraction}"):
        MNIST(val_fraction=fraction)
