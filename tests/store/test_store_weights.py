"""Checkpoints: what was saved comes back, or an error; nothing else."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from nnray.errors import StoreError
from nnray.store.weights import load_weights, save_weights


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    state = {
        "layer.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "layer.bias": torch.tensor([-1.0, 2.0, 0.5], dtype=torch.bfloat16),
        "steps": torch.tensor(7),
        "nothing": torch.empty(0, 4),
        "mask": torch.tensor([True, False]),
    }
    path = tmp_path / "epoch=0000.safetensors"
    save_weights(path, state)
    return path, state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def test_tensors_come_back_as_they_were(saved):
    path, state = saved
    assert same(load_weights(path), state)
    assert same(load_weights(path, ["steps", "mask"]), {name: state[name] for name in ("steps", "mask")})


def test_a_flipped_bit_anywhere_gives_the_same_tensors_or_an_error(saved):
    path, state = saved
    whole, found = path.read_bytes(), []
    for place in range(len(whole)):
        for bit in (0x01, 0x20):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            try:
                assert same(load_weights(path), state), f"bit {bit} of byte {place}"
            except StoreError as error:
                found.append(str(error))
    assert all(str(path) in error for error in found)
    assert len(found) > len(whole)  # the rest makes no difference: the name of the checksums, and their capital letters


def test_a_flipped_bit_in_one_tensor_leaves_the_others_readable(saved):
    path, state = saved
    content = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    content[8 + length + header["layer.weight"]["data_offsets"][0] + 5] ^= 0x10
    path.write_bytes(content)
    assert torch.equal(load_weights(path, ["layer.bias"])["layer.bias"], state["layer.bias"])
    for names in (["layer.weight"], None):
        with pytest.raises(
            StoreError, match=r"epoch=0000\.safetensors is damaged: layer\.weight is not what was saved"
        ):
            load_weights(path, names)


@pytest.mark.parametrize("left", [0, 5, 40, -1], ids=["nothing", "half a length", "half a header", "a byte less"])
def test_a_file_cut_short_is_damaged(saved, left):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(StoreError, match="is damaged"):
        load_weights(path)


def test_a_tensor_that_is_not_there_is_named(saved):
    with pytest.raises(StoreError, match=r"doesn't fit its model of today: it has no tensor 'layer\.gain'"):
        load_weights(saved[0], ["layer.gain", "steps"])


def test_files_of_others_have_no_checksums(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert load_weights(tmp_path / "theirs.safetensors")["a"].tolist() == [1.0, 1.0]
