from __future__ import annotations

import sys
import textwrap

import pandas as pd
import pytest
import torch
from torch import nn
from trial_folders import CONFIG, write_trial, write_trials

import nnray
from nnray.errors import StoreError
from nnray.store.bookkeeper import rebuild
from nnray.trial.paths import StorePaths

NETWORKS = """
import lightning.pytorch as pl
import torch
from torch import nn

class Task(pl.LightningModule):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

class OwnModelTask(pl.LightningModule):
    def __init__(self, width: int = 4):
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, x):
        return self.layer(x)

class Data(pl.LightningDataModule):
    num_classes: int = 2
    image_size: tuple[int, int] = (2, 2)

class Plain(nn.Module):
    def __init__(self, num_classes: int, image_size: tuple[int, int], width: int = 4):
        super().__init__()
        assert image_size == (2, 2)
        hidden = [nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5)]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, num_classes))

    def forward(self, x):
        return self.layers(x)

class UnsavedBuffer(nn.Module):
    def __init__(self, num_classes: int, place: str = "buffer"):
        super().__init__()
        self.layer = nn.Linear(3, num_classes)
        scale = torch.full((3,), 2.0)
        if place == "buffer":
            self.register_buffer("scale", scale, persistent=False)
        elif place == "attribute":
            self.scale = scale
        elif place == "list":
            self.scales = [{"x": scale}]
        self._scale = lambda: scale

    def forward(self, x):
        return self.layer(x * self._scale())

class RandomBuffer(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("projection", torch.randn(3, num_classes), persistent=False)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x):
        return x @ self.projection + self.bias

class LooksAtValues(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.layer = nn.Linear(3, num_classes)
        self.first = self.layer.weight.sum().item()

    def forward(self, x):
        return self.layer(x)

class Tied(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    (folder / "nnray_test_networks.py").write_text(NETWORKS)
    sys.path.insert(0, str(folder))
    import nnray_test_networks

    yield nnray_test_networks
    sys.path.remove(str(folder))


def config(model: str | None, task: str = "Task", **arguments) -> dict:
    """A configuration that knows nothing but the networks above."""
    here = "nnray_test_networks."
    return {
        **dict.fromkeys(CONFIG),
        "seed": 0,
        "model": model and {"class_path": here + model, "init_args": arguments},
        "task": {"class_path": here + task},
        "data": {"class_path": here + "Data"},
        "trainer": {},
    }


FACTS = {"num_classes": 2, "image_size": [2, 2]}
X = torch.arange(12.0).reshape(4, 3)


def train(store: StorePaths, network: nn.Module, values: dict, epochs=(0, 1), **options):
    """Write the trial of ``network``; its weights after epoch ``e`` are those of ``network`` plus ``e``."""
    states = {epoch: {k: v + epoch for k, v in network.state_dict().items()} for epoch in epochs}
    return write_trial(store, config=values, checkpoints=states, data_facts=FACTS, **options)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Plain", {"width": 5}),
        ("UnsavedBuffer", {"place": "buffer"}),
        ("UnsavedBuffer", {"place": "attribute"}),
        ("UnsavedBuffer", {"place": "list"}),
        ("UnsavedBuffer", {"place": "closure"}),
        ("RandomBuffer", {}),
        ("LooksAtValues", {}),
        ("Tied", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.get("place", "")),
)
def test_a_trial_is_loaded_as_the_network_that_was_trained(tmp_path, networks, name, arguments):
    torch.manual_seed(3)  # the trial's seed, as training sets it
    facts = {"num_classes": 2, "image_size": (2, 2)}
    cls = getattr(networks, name)
    taken = {key: fact for key, fact in facts.items() if key in cls.__init__.__annotations__}
    network = cls(**arguments, **taken).eval()
    store = StorePaths(tmp_path)
    paths = train(store, network, {**config(name, **arguments), "seed": 3}, epochs=(0,), position=3)
    before = torch.random.get_rng_state()
    loaded = nnray.open(tmp_path).load(paths.signature)
    assert torch.equal(before, torch.random.get_rng_state())
    assert type(loaded) is cls
    assert not loaded.training
    assert torch.equal(loaded(X), network(X))
    assert len(list(loaded.parameters())) == len(list(network.parameters()))
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_an_epoch_is_loaded_by_its_number_and_the_last_by_default(tmp_path, networks):
    network = networks.LooksAtValues(2)
    paths = train(StorePaths(tmp_path), network, config("LooksAtValues"), epochs=(0, 3, 12))
    store = nnray.open(tmp_path)
    for epoch, shift in [(0, 0), (3, 3), (12, 12), (None, 12)]:
        loaded = store.load(paths.signature[:6], epoch)
        assert torch.equal(loaded.layer.bias, network.layer.bias + shift)


def test_weights_keep_the_type_in_which_they_were_trained(tmp_path, networks):
    for name in ("LooksAtValues", "Tied"):
        network = getattr(networks, name)(2).double()
        paths = train(StorePaths(tmp_path), network, config(name), epochs=(0,))
        loaded = nnray.open(tmp_path).load(paths.signature)
        assert all(
            torch.equal(mine, theirs) for mine, theirs in zip(loaded.parameters(), network.parameters(), strict=True)
        )


def test_what_a_checkpoint_keeps_of_the_task_is_left_aside(tmp_path, networks):
    network = networks.LooksAtValues(2)
    store = StorePaths(tmp_path)
    state = {**network.state_dict(), "task:temperature": torch.ones(1)}
    paths = write_trial(store, config=config("LooksAtValues"), checkpoints={0: state}, data_facts=FACTS)
    assert torch.equal(nnray.open(tmp_path).load(paths.signature)(X), network(X))


def test_a_task_with_its_own_model_is_loaded_whole(tmp_path, networks):
    task = networks.OwnModelTask(6)
    values = config(None, "OwnModelTask")
    values["task"]["init_args"] = {"width": 6}
    paths = train(StorePaths(tmp_path), task, values, epochs=(0,))
    assert torch.equal(nnray.open(tmp_path).load(paths.signature)(X), task(X))


def test_weights_that_do_not_fit_are_named(tmp_path, networks):
    network = networks.Plain(2, (2, 2), width=4)
    paths = train(StorePaths(tmp_path), network, config("Plain", width=5), epochs=(0,))
    with pytest.raises(StoreError, match=rf"the weights of trial {paths.signature} don't fit .*size mismatch") as error:
        nnray.open(tmp_path).load(paths.signature)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda store, signature: store.load(signature, 7), r"keeps no weights of epoch 7; there is: 0, 1"),
        (lambda store, signature: store.load(signature[:3]), r"there is no trial '...' in"),
        (lambda store, signature: store.load("ffff"), r"there is no trial 'ffff' in .*; there is: "),
        (lambda store, signature: store.load(signature[:-1] + "x"), r"there is no trial .*; did you mean"),
        (lambda store, signature: store.load(""), r"there is no trial ''"),
        (lambda store, signature: store.trials("digts"), r"there is no sweep 'digts' in .*; did you mean 'digits'"),
        (lambda store, signature: store.metrics("../digits"), r"there is no sweep '../digits'"),
    ],
    ids=["epoch", "short prefix", "prefix", "typing error", "nothing", "sweep", "path"],
)
def test_what_is_not_there_is_named_with_the_nearest(tmp_path, networks, ask, message):
    paths = train(StorePaths(tmp_path), networks.LooksAtValues(2), config("LooksAtValues"))
    rebuild(StorePaths(tmp_path), "digits")
    with pytest.raises(StoreError, match=message):
        ask(nnray.open(tmp_path), paths.signature)


def test_a_prefix_that_two_trials_share_is_ambiguous(tmp_path):
    store = StorePaths(tmp_path)
    for last in "01":
        store.trial("abcdef" + last * 10).folder.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"'abcd' is ambiguous: abcdef0000000000, abcdef1111111111"):
        nnray.open(tmp_path).load("abcd")


def test_a_store_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match=rf"there is no store at {tmp_path}/nowhere"):
        nnray.open(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is not a store"):
        nnray.open(tmp_path)
    write_trials(tmp_path / "there", 1)
    monkeypatch.setenv("NNRAY_STORE", str(tmp_path / "there"))
    assert nnray.open().path == tmp_path / "there"
    monkeypatch.delenv("NNRAY_STORE")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").rename(tmp_path / "nnray-store")
    assert nnray.open().path == tmp_path / "nnray-store"


def test_frames_are_those_of_the_tables(tmp_path):
    paths = StorePaths(tmp_path / "lr=1" / "store")  # a folder that pyarrow would make a column of
    write_trials(paths.root, 2, checkpoints={0: {"w": torch.ones(2)}})
    rebuild(paths, "digits")
    store = nnray.open(paths.root)
    assert store.sweeps() == ["digits"]
    assert store.metric("digits") == ("val_acc", "max")
    assert "lr" not in store.trials("digits").columns
    assert (len(store.trials("digits")), len(store.metrics("digits")), len(store.checkpoints("digits"))) == (2, 6, 2)
    pd.testing.assert_frame_equal(
        store.checkpoints("digits"), pd.read_parquet(paths.table("digits", "checkpoints"), partitioning=None)
    )


def test_checkpoints_are_found_after_the_store_was_moved(tmp_path):
    old = write_trials(tmp_path / "old", 1, checkpoints={0: {"w": torch.ones(2)}})
    rebuild(old, "digits")
    old.root.rename(tmp_path / "new")
    (path,) = nnray.open(tmp_path / "new").checkpoints("digits")["path"]
    assert path == str(StorePaths(tmp_path / "new").trial(next((tmp_path / "new/trials").iterdir()).name).checkpoint(0))


def test_a_table_that_somebody_damaged_is_named(tmp_path):
    store = write_trials(tmp_path, 1)
    path = store.table("digits", "trials")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 half")
    with pytest.raises(StoreError, match=r"trials.parquet cannot be read \(nnray rebuild makes it anew\)"):
        nnray.open(tmp_path).trials("digits")


def test_opening_a_store_does_not_import_torch(tmp_path):
    import subprocess

    write_trials(tmp_path, 1)
    code = textwrap.dedent("""
        import sys, nnray
        nnray.open(sys.argv[1])
        assert not {"torch", "ray", "mlflow"} & sys.modules.keys()
    """)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
