"""Networks that were trained elsewhere: a state dict becomes a completed trial. No code in it is run."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import StoreError, did_you_mean
from nnray.store.claim import Claim
from nnray.store.files import write_text
from nnray.store.format import settle_format
from nnray.store.links import check_links
from nnray.store.record import Record, now
from nnray.store.weights import Tensors, kept_epochs, load_weights, save_weights
from nnray.trial.config_file import with_checksum
from nnray.trial.configuration import Configuration
from nnray.trial.paths import StorePaths, TrialPaths

if TYPE_CHECKING:
    import torch

_NESTED = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the state dict in a file that holds more."""


def read_state_dict(path: Path) -> Tensors:
    """Return the tensors in a ``.safetensors``, ``.pt``, ``.pth`` or ``.ckpt`` file, on the CPU.

    Raises:
        StoreError: If there is no such file, it holds no state dict, or it cannot be read without running code in it.
    """
    if not path.is_file():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StoreError(f"there is no checkpoint {path}{did_you_mean(path.name, beside)}")
    if path.suffix == ".safetensors":
        return load_weights(path)
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # What PyTorch says before is how to run the code all the same.
        said = " ".join(str(error).rpartition("WeightsUnpickler error:")[2].split())
        reason = said.partition(" Check the documentation")[0].partition(". ")[0]
        raise StoreError(
            f"{path} is no checkpoint, or cannot be read without running code in it: save its state_dict() ({reason})"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise StoreError(f"{path} is not a checkpoint: {' '.join(str(error).split())}") from error
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = {key: value for key, value in content.items() if _is_tensor(value)} if isinstance(content, dict) else {}
    if not tensors:
        raise StoreError(f"{path} holds no state dict: it is a {type(content).__name__} without tensors")
    return tensors


def import_trial(store: StorePaths, configuration: Configuration, state: Tensors) -> TrialPaths:
    """Write a completed trial with these weights and return its folder; one with the same weights is left as it is.

    Args:
        store: The store.
        configuration: What the network is built from; its data set is loaded for what the model takes from it.
        state: The network's state dict; names may have a prefix that is common to them (``model.``, ``module.``).

    Raises:
        StoreError: If the weights don't fit the model, or the configuration's trial exists with other weights.
    """
    data = configuration.build_data()
    facts = configuration.data_facts(data)
    model = configuration.build_model(facts)
    if model is None:
        raise StoreError("the configuration names no model, whose weights these could be")
    weights = _fitting(state, model)
    paths = check_links(store.trial(configuration.signature))
    with _claimed(paths):
        if Record.read(paths.record) is not None:
            _refuse_others(paths, weights)
            return paths
        write_text(paths.config, with_checksum(configuration.yaml()))
        save_weights(paths.checkpoint(configuration.values["trainer"]["max_epochs"] - 1), weights)
        time = now()
        Record(
            signature=configuration.full_signature,
            status="completed",
            started=time,
            ended=time,
            host=socket.gethostname(),
            data_fingerprint=data.fingerprint() if hasattr(data, "fingerprint") else None,
            data_facts=facts,
        ).write(paths.record)
    return paths


def _claimed(paths: TrialPaths) -> Claim:
    settle_format(paths.store.root)
    paths.folder.mkdir(parents=True, exist_ok=True)
    claim = Claim.acquire(paths.claim)
    if claim is None:
        raise StoreError(f"trial {paths.signature} is being trained by another command")
    return claim


def _fitting(state: Tensors, model: torch.nn.Module) -> Tensors:
    """Return the tensors under the model's names, in its order."""
    expected = model.state_dict()
    for prefix in _prefixes(state):
        found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if set(expected) <= set(found):
            break
    else:
        missing = sorted(set(expected) - set(state))
        raise StoreError(
            f"the weights don't fit {type(model).__name__}: {missing[0]!r} is missing{did_you_mean(missing[0], state)}"
        )
    surplus = sorted(set(found) - set(expected))
    if surplus:
        raise StoreError(f"the weights don't fit {type(model).__name__}: it has no {surplus[0]!r}")
    for name, tensor in expected.items():
        if tuple(found[name].shape) != tuple(tensor.shape):
            raise StoreError(
                f"the weights don't fit {type(model).__name__}: {name} has the shape {tuple(found[name].shape)}, "
                f"and the model's {tuple(tensor.shape)}"
            )
    return {name: found[name].to(tensor.dtype) for name, tensor in expected.items()}  # half precision, say


def _prefixes(state: Tensors) -> list[str]:
    """Return what names may begin with: nothing, or the first parts that all of some names share."""
    heads = {name.split(".")[0] + "." for name in state if "." in name}
    deeper = {".".join(name.split(".")[:2]) + "." for name in state if name.count(".") > 1}
    return ["", *sorted(heads), *sorted(deeper)]


def _refuse_others(paths: TrialPaths, weights: Tensors) -> None:
    import torch

    kept = kept_epochs(paths)
    there: dict[str, Any] = load_weights(kept[max(kept)]) if kept else {}
    if set(there) != set(weights) or not all(torch.equal(there[name], weights[name]) for name in weights):
        raise StoreError(
            f"trial {paths.signature} exists with other weights: tell them apart with --source TEXT, which enters the "
            "signature"
        )


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
