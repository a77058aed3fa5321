"""Single tensors of a checkpoint in a bucket: the right ones, checked, and few bytes beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from nnray.errors import StoreError
from nnray.store.files import path_of
from nnray.store.files.patient_s3 import PatientS3
from nnray.store.files.ranges import GAP
from nnray.store.weights import load_weights, save_weights

KIB = 1 << 10


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of every answer with content."""
    sizes: list[int] = []
    real = PatientS3._call_s3

    async def counting(self: Any, method: str, *arguments: Any, **named: Any) -> Any:
        answer = await real(self, method, *arguments, **named)
        if method == "get_object":
            sizes.append(answer["ContentLength"])
        return answer

    monkeypatch.setattr(PatientS3, "_call_s3", counting)
    return sizes


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Layers of 1 MiB each, with small ones of other types among them."""
    torch.manual_seed(0)
    layers = {f"layer{place}.weight": torch.randn(256, 1024) for place in range(6)}
    return {**layers, "layer1.bias": torch.randn(7).bfloat16(), "seen": torch.tensor(3), "empty": torch.zeros(0, 4)}


@pytest.fixture
def path(bucket: str, state: dict[str, torch.Tensor]) -> Path:
    place = path_of(f"{bucket}/checkpoints/epoch=0000.safetensors")
    save_weights(place, state)
    return place


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize(
    ("names", "requests", "kib"),
    [
        (["layer2.weight"], 2, 1024),
        (["seen", "layer1.bias"], 3, 0),
        (["empty"], 1, 0),
        (["layer2.weight", "layer3.weight"], 2, 2048),
        (["layer0.weight", "layer5.weight"], 3, 2048),
        ([], 1, 0),
    ],
)
def test_what_is_wanted_is_fetched_and_little_else(
    path: Path, state: dict[str, torch.Tensor], fetched: list[int], names: list[str], requests: int, kib: int
) -> None:
    found = load_weights(path, names)
    _same(found, {name: state[name] for name in names})
    assert len(fetched) <= requests
    assert kib * KIB <= sum(fetched) <= (kib + 64) * KIB + GAP


def test_a_small_file_takes_one_request(bucket: str, fetched: list[int]) -> None:
    path = path_of(f"{bucket}/small.safetensors")
    state = {"weight": torch.randn(10, 10), "bias": torch.randn(10)}
    save_weights(path, state)
    _same(load_weights(path, ["bias"]), {"bias": state["bias"]})
    assert len(fetched) == 1


def test_a_header_longer_than_what_is_fetched_first(bucket: str) -> None:
    path = path_of(f"{bucket}/many.safetensors")
    state = {f"a layer of a name that is long {place}": torch.tensor([float(place)]) for place in range(1500)}
    save_weights(path, state)
    wanted = [*state][7:9]
    _same(load_weights(path, wanted), {name: state[name] for name in wanted})


def test_damage_is_found_where_it_matters(path: Path, state: dict[str, torch.Tensor]) -> None:
    content = bytearray(path.read_bytes())
    header = int.from_bytes(content[:8], "little")
    content[8 + header + 3 * 1024 * KIB] ^= 1
    path.write_bytes(bytes(content))
    damaged = []
    for name in state:
        try:
            _same(load_weights(path, [name]), {name: state[name]})
        except StoreError as error:
            damaged.append((name, str(error)))
    ((name, reason),) = damaged
    assert f"{path} is damaged: {name} is not what was saved" in reason


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        (1 << 60).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (8).to_bytes(8, "little") + b'{"w": 3}',
        (15).to_bytes(8, "little") + b'{"w": {"w": 3}}',
        (61).to_bytes(8, "little") + b'{"w": {"dtype":"F32","shape":[4],"data_offsets":[0,-1]}}     ',
        (61).to_bytes(8, "little") + b'{"w": {"dtype":"F32","shape":[4],"data_offsets":[0,16]}}     ' + b"short",
        (61).to_bytes(8, "little") + b'{"w": {"dtype":"NON","shape":[4],"data_offsets":[0,16]}}     ' + bytes(16),
        (61).to_bytes(8, "little") + b'{"w": {"dtype":"F32","shape":[5],"data_offsets":[0,16]}}     ' + bytes(16),
    ],
    ids=["empty", "cut", "endless", "list", "number", "odd", "negative", "short", "type", "shape"],
)
def test_what_is_no_checkpoint_is_one_line(bucket: str, content: bytes) -> None:
    path = path_of(f"{bucket}/odd.safetensors")
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"odd\.safetensors is damaged: ") as raised:
        load_weights(path, ["w"])
    assert "\n" not in str(raised.value)


def test_what_is_not_there(path: Path) -> None:
    with pytest.raises(StoreError, match=r"has no tensor 'layer9\.weight'"):
        load_weights(path, ["layer9.weight"])
    with pytest.raises(StoreError, match=r"there is no checkpoint"):
        load_weights(cast(Path, path.with_name("epoch=0001.safetensors")), ["seen"])
