"""CIFAR and MNIST as small files of the real formats, as their authors publish them."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import torchvision

from nnray.data import CIFAR10, CIFAR100


class _OldPickler(pickle.Pickler):
    """Writes arrays as the NumPy of 2009 did, with integers for booleans."""

    def reducer_override(self, obj):
        if isinstance(obj, np.dtype):
            return np.dtype, (obj.str[1:], 0, 1), obj.__reduce__()[2]
        return NotImplemented


def old_pickle(content):
    buffer = io.BytesIO()
    _OldPickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar_files(kind, classes):
    """Return {name: bytes} of the data set's folder and the images and labels that they hold, train and test."""
    rng = np.random.default_rng(0)
    files, images, labels = {}, {}, {}
    label_key, name_key = ("labels", "label_names") if classes == 10 else ("fine_labels", "fine_label_names")
    for part, entries in (("train", kind.train_list), ("test", kind.test_list)):
        count = 40 if classes == 10 else 200
        images[part] = rng.integers(0, 256, (count * len(entries), 3, 32, 32), dtype=np.uint8)
        labels[part] = np.tile(np.arange(classes), len(images[part]) // classes)
        for index, (name, _) in enumerate(entries):
            own = slice(index * count, (index + 1) * count)
            data = {"data": images[part][own].reshape(count, -1), label_key: labels[part][own].tolist()}
            files[name] = old_pickle(data)
    files[kind.meta["filename"]] = pickle.dumps({name_key: [f"class {label}" for label in range(classes)]}, protocol=2)
    return files, images, labels


def idx(array):
    """Return an array of bytes in MNIST's format: magic number, sizes (big endian), values."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_files():
    rng = np.random.default_rng(0)
    files, images, labels = {}, {}, {}
    for part, prefix, count in (("train", "train", 100), ("test", "t10k", 30)):
        images[part] = rng.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        labels[part] = np.tile(np.arange(10), count // 10)
        files[f"{prefix}-images-idx3-ubyte"] = idx(images[part][:, 0])
        files[f"{prefix}-labels-idx1-ubyte"] = idx(labels[part].astype(np.uint8))
    return files, images, labels


def md5(content):
    return hashlib.md5(content).hexdigest()


class Published:
    """A small data set as its authors publish it: torchvision is told its address and its checksums, nothing else."""

    def __init__(self, module, folder, address, monkeypatch):
        self.module = module
        kind = getattr(torchvision.datasets, module.__name__)
        folder.mkdir()
        if issubclass(module, CIFAR10 | CIFAR100):
            self.files, self.images, self.labels = cifar_files(kind, module.num_classes)
            for entries in ("train_list", "test_list"):
                sums = [[name, md5(self.files[name])] for name, _ in getattr(kind, entries)]
                monkeypatch.setattr(kind, entries, sums)
            monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(self.files[kind.meta["filename"]])})
            self.archives = [folder / kind.filename]
            with tarfile.open(self.archives[0], "w:gz") as archive:
                for name, content in self.files.items():
                    entry = tarfile.TarInfo(f"{module.folder}/{name}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            monkeypatch.setattr(kind, "url", f"{address}/{kind.filename}")
            monkeypatch.setattr(kind, "tgz_md5", md5(self.archives[0].read_bytes()))
        else:
            self.files, self.images, self.labels = mnist_files()
            self.archives = [folder / f"{name}.gz" for name in self.files]
            for archive, content in zip(self.archives, self.files.values(), strict=True):
                archive.write_bytes(gzip.compress(content))
            monkeypatch.setattr(kind, "mirrors", [f"{address}/"])
            monkeypatch.setattr(kind, "resources", [(path.name, md5(path.read_bytes())) for path in self.archives])

    def place(self, root):
        """Write the files to where a finished download leaves them."""
        folder = root / self.module.folder
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder
