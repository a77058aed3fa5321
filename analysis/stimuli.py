"""The images that networks are shown: a fixed choice of samples in a fixed order, the same for every network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from nnray.errors import AnalysisError, NnrayError
from nnray.store.loading import model_of
from nnray.trial.paths import StorePaths

if TYPE_CHECKING:
    from analysis.networks import Networks
    from nnray.trial.configuration import Configuration

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Data = Split | torch.Tensor | np.ndarray | tuple[Any, Any] | Any

_NOT_CONTENT = ("batch_size", "seed", "augment", "drop_last")
"""Arguments of data modules that change neither which evaluation images there are nor their values."""


@dataclass(frozen=True)
class Stimuli:
    """Inputs and what is known of them.

    Attributes:
        images: ``(n, ...)``, as a network takes them: normalized, never augmented.
        labels: ``(n,)`` integers, or None.
        samples: ``(n,)`` integers: each one's place in the data set.
        fingerprint: A hash of all of that.
    """

    images: np.ndarray
    labels: np.ndarray | None
    samples: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int, device: torch.device, start: int = 0) -> Iterator[torch.Tensor]:
        """Yield the images in order from ``start``, ``size`` at a time."""
        for place in range(start, len(self), size):
            yield torch.from_numpy(np.array(self.images[place : place + size])).to(device)  # a copy: theirs is shared


def make_stimuli(
    networks: Networks, data: Data = "test", n: int | None = None, seed: int = 0, at_most: int | None = None
) -> Stimuli:
    """Return the samples that all of ``networks`` are shown.

    Args:
        networks: Networks that take the same images.
        data: ``"train"``, ``"val"`` or ``"test"`` of the data set that they were trained on (without augmentation), a
            LightningDataModule (its test set), images, or a pair of images and labels.
        n: How many samples, drawn without replacement; None for all. They come in a random order in any case, as
            measures by minibatches need it.
        seed: Of the draw and the order.
        at_most: Without ``n``, draw no more than so many.

    Raises:
        AnalysisError: If there are no networks or not enough samples, or the networks were trained on different data.
    """
    if isinstance(data, str):
        if data not in SPLITS:
            raise AnalysisError(f"data: {data!r} is none of 'train', 'val', 'test', a data module, or images")
        images, labels = _evaluation_set(_data_module(networks), data)
    elif isinstance(data, tuple):
        if len(data) != 2:
            raise AnalysisError(f"data: a tuple is a pair of images and labels, and this one has {len(data)} parts")
        images, labels = _array(data[0]), _array(data[1])
    elif hasattr(data, "test_dataloader"):
        images, labels = _evaluation_set(data, "test")
    else:
        images, labels = _array(data), None
    if labels is not None and len(labels) != len(images):
        raise AnalysisError(f"data: there are {len(images)} images and {len(labels)} labels")
    if images.dtype == np.uint8:
        raise AnalysisError(
            "data: these images are uint8, as files hold them, and networks take what they were trained on: floating "
            "point, scaled and normalized as their data module does"
        )
    if images.dtype == np.float64:  # NumPy's default, which no network computes in
        images = images.astype(np.float32)
    if n is None and at_most is not None:
        n = min(at_most, len(images))
    return _chosen(images, labels, n, seed)


def _array(values: Any) -> np.ndarray:
    """Return images or labels that a person gave."""
    try:
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise AnalysisError(f"data: this is no array of images: {' '.join(str(error).split())}") from error
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise AnalysisError(f"data: an array of images is expected, not {type(values).__name__}")
    return array


def _chosen(images: np.ndarray, labels: np.ndarray | None, n: int | None, seed: int) -> Stimuli:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise AnalysisError(f"seed is {seed!r}, where a whole number from 0 is expected")
    if n is not None and not (isinstance(n, int | np.integer) and 0 < n <= len(images)):
        raise AnalysisError(f"n is {n}, and the data set has {len(images)} samples")
    samples = np.ascontiguousarray(np.random.default_rng(seed).permutation(len(images))[:n])
    chosen = np.ascontiguousarray(images[samples])
    digest = hashlib.sha256(repr((chosen.shape, chosen.dtype.str)).encode())
    digest.update(chosen.data)
    digest.update(samples.data)
    if labels is not None:
        labels = np.ascontiguousarray(labels[samples])
        digest.update(labels.data)
    return Stimuli(chosen, labels, samples, digest.hexdigest())


def _data_module(networks: Networks) -> Any:
    """Return the data module of the trials, which has to be the same for all."""
    found: dict[str, tuple[str, Configuration]] = {}
    described: set[str] = set()
    lost: NnrayError | None = None
    for network in networks:
        if network.trial in described:
            continue
        described.add(network.trial)
        try:
            configuration, _ = model_of(StorePaths(networks.store).trial(network.trial))
        except NnrayError as error:  # the network's own row of errors will say so
            lost = lost or error
            continue
        found.setdefault(_content(configuration), (network.trial, configuration))
    if not found and lost is not None:
        raise lost
    if not found:
        raise AnalysisError("there are no networks: nothing is left of the table")
    if len(found) > 1:
        (one, first), (other, second) = list(found.values())[:2]
        raise AnalysisError(
            f"trials {one} and {other} were trained on different data ({_name(first)}, {_name(second)}): give data= "
            "the images to show them all, or choose networks with where()"
        )
    return next(iter(found.values()))[1].build_data()


def _content(configuration: Configuration) -> str:
    data = configuration.values["data"]
    unsigned = {key.rpartition(".")[2] for key in configuration.unsigned if key.startswith("data.")}
    arguments = {key: value for key, value in data["init_args"].items() if key not in {*_NOT_CONTENT, *unsigned}}
    return json.dumps([data["class_path"], arguments], sort_keys=True)


def _name(configuration: Configuration) -> str:
    return _content(configuration)[1:-1].replace('"', "")


def _evaluation_set(module: Any, split: Split) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        if hasattr(module, "evaluation_dataloader"):
            return _collected(module.evaluation_dataloader(split))
        if split == "train":
            raise AnalysisError(
                f"data='train': {type(module).__name__} shuffles or augments its training images; give the images"
            )
        module.prepare_data()
        module.setup("test" if split == "test" else "fit")
        return _collected(getattr(module, f"{split}_dataloader")())
    except NnrayError:
        raise
    except Exception as error:  # the person's own data module
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise AnalysisError(f"data: the {split} images of {type(module).__name__} cannot be had: {reason}") from error


def _collected(batches: Iterable[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    images, labels = [], []
    for batch in batches:
        first, *rest = batch if isinstance(batch, list | tuple) else (batch,)
        images.append(first.cpu().numpy())
        labels += [part.cpu().numpy() for part in rest[:1]]
    return np.concatenate(images), np.concatenate(labels) if labels else None
