"""The data modules in Lightning's Trainer; the suite turns each of Lightning's warnings into an error."""

from collections import defaultdict

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.nn.functional import cross_entropy

from nnray.data import Digits, FakeData, RandomCrop, RandomHorizontalFlip
from nnray.errors import DataError

# Lightning 2.6 with torch 2.15, whatever the data module.
pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")


class Linear(LightningModule):
    def __init__(self, data):
        super().__init__()
        torch.manual_seed(0)
        pixels = data.in_channels * data.image_size**2
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, data.num_classes))
        self.epochs = defaultdict(list)
        self.seen = {"val": [], "test": []}

    def training_step(self, batch, batch_idx):
        images, labels = batch
        self.epochs[self.current_epoch].append(batch)
        return cross_entropy(self.net(images), labels)

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append(batch)
        self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def test_step(self, batch, batch_idx):
        self.seen["test"].append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def trainer(max_epochs=2, callbacks=(), **arguments):
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(max_epochs=max_epochs, callbacks=list(callbacks), **{**defaults, **arguments})


def fit(data, **arguments):
    model = Linear(data)
    trainer(**arguments).fit(model, datamodule=data)
    return model


def labels_of(epoch):
    return torch.cat([labels for _, labels in epoch]).tolist()


def test_a_linear_model_learns_the_digits():
    data = Digits(seed=1)
    model = Linear(data)
    used = trainer(max_epochs=4)
    used.fit(model, datamodule=data)
    assert [len(epoch) for epoch in model.epochs.values()] == [10] * 4
    assert used.callback_metrics["val_acc"] > 0.9
    assert torch.equal(torch.cat([labels for _, labels in model.seen["val"][-1:]]), data.splits.val.labels)
    used.test(model, datamodule=data)
    assert torch.equal(torch.cat([labels for _, labels in model.seen["test"]]), data.splits.test.labels)


def test_the_order_differs_between_epochs_and_is_equal_for_equal_seeds():
    first, again, other = (fit(Digits(seed=seed)) for seed in (1, 1, 2))
    one, two = (labels_of(epoch) for epoch in first.epochs.values())
    assert one != two
    assert sorted(one) == sorted(two)
    assert [labels_of(epoch) for epoch in again.epochs.values()] == [one, two]
    assert labels_of(other.epochs[0]) != one
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_lightning_announces_every_epoch():
    data = Digits(seed=1)
    model = fit(data, max_epochs=3)
    batches = data.train_dataloader()
    for epoch, seen in model.epochs.items():
        batches.set_epoch(epoch)
        assert labels_of(list(batches)) == labels_of(seen)


def test_reloading_the_batches_every_epoch_changes_nothing():
    reloaded = fit(Digits(), reload_dataloaders_every_n_epochs=1)
    assert [*map(labels_of, reloaded.epochs.values())] == [*map(labels_of, fit(Digits()).epochs.values())]


class StopAt(Callback):
    """Saves a checkpoint behind a batch and ends the training there, as a killed trial would."""

    def __init__(self, epoch, batch, path):
        self.epoch, self.batch, self.path = epoch, batch, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)
            raise KeyError("killed")


@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 5), (1, 3), (1, 8)])
def test_training_continues_in_the_middle_of_an_epoch_bit_for_bit(tmp_path, epoch, batch):
    def digits():
        return Digits(seed=4, augment=[RandomCrop(padding=1)])

    whole = fit(digits(), max_epochs=3)
    path = tmp_path / "killed.ckpt"
    with pytest.raises(KeyError, match="killed"):
        fit(digits(), max_epochs=3, callbacks=[StopAt(epoch, batch, path)])

    resumed = Linear(digits())
    trainer(max_epochs=3).fit(resumed, datamodule=digits(), ckpt_path=path, weights_only=True)
    torch.testing.assert_close(dict(resumed.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning")
@pytest.mark.parametrize("on_train_epoch_end", [False, True], ids=["behind validation", "behind the epoch"])
def test_training_continues_from_the_end_of_an_epoch_bit_for_bit(tmp_path, on_train_epoch_end):
    def keep():
        return ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=on_train_epoch_end)

    whole = fit(Digits(), max_epochs=4, callbacks=[keep()])
    resumed = Linear(Digits())
    again = trainer(max_epochs=4, callbacks=[keep()])
    again.fit(resumed, datamodule=Digits(), ckpt_path=tmp_path / "epoch=1.ckpt", weights_only=True)
    assert list(resumed.epochs) == [2, 3]
    torch.testing.assert_close(dict(resumed.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)


def test_limited_batches_are_the_first_of_each_epoch():
    limited, whole = fit(Digits(), limit_train_batches=3), fit(Digits())
    for short, long in zip(limited.epochs.values(), whole.epochs.values(), strict=True):
        assert labels_of(short) == labels_of(long[:3])


class Elsewhere:
    """A trainer as far as loaders look at it."""

    def __init__(self, rank, workers):
        self.global_rank, self.world_size = rank, workers


@pytest.mark.parametrize("augment", [[], [RandomHorizontalFlip()]], ids=["plain", "augmented"])
@pytest.mark.parametrize("workers", [2, 3])
def test_parts_of_several_workers_make_the_batches_of_one(augment, workers):
    drop_last = workers == 3

    def loaders(rank, workers):
        # The last batch has two images, too few for three workers.
        data = FakeData(size=50, image_size=4, batch_size=16, augment=augment, drop_last=drop_last)
        data.setup()
        data.trainer = Elsewhere(rank, workers)
        return data.train_dataloader(), data.val_dataloader()

    own = [loaders(rank, workers) for rank in range(workers)]
    whole = loaders(0, 1)
    for parts, batch in zip(zip(*(train for train, _ in own), strict=True), whole[0], strict=True):
        for place, tensor in enumerate(batch):
            assert torch.equal(torch.cat([part[place] for part in parts]), tensor)
        sizes = [len(part[1]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    labels = [batch[1] for _, val in own for batch in val]
    assert torch.equal(torch.cat(labels), torch.cat([batch[1] for batch in whole[1]]))


def test_a_batch_that_cannot_be_divided_is_refused():
    data = FakeData(size=17, image_size=4, batch_size=16)
    data.setup()
    data.trainer = Elsewhere(0, 2)
    with pytest.raises(DataError, match="a training batch of 1 images cannot be divided among 2 workers: choose"):
        data.train_dataloader()
