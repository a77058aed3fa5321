import pytest
import torch

from nnray.data import FakeData
from nnray.errors import DataError


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fake_data_has_what_it_is_asked_for(channels):
    fake = FakeData(size=20, image_size=5, num_classes=3, in_channels=channels)
    assert (fake.in_channels, fake.num_classes, fake.image_size) == (channels, 3, 5)
    splits = fake.splits
    assert [tuple(part.images.shape) for part in (splits.train, splits.val, splits.test)] == [
        (count, channels, 5, 5) for count in (20, 4, 4)
    ]
    assert set(splits.train.labels.tolist()) == {0, 1, 2}
    assert next(iter(fake.train_dataloader()))[0].shape == (20, channels, 5, 5)


def test_no_image_comes_twice():
    splits = FakeData(size=20, image_size=4).splits
    images = torch.cat([part.images for part in (splits.train, splits.val, splits.test)])
    assert len(images.unique(dim=0)) == 28


def test_fake_data_is_the_same_in_every_process():
    assert (
        FakeData(size=5, image_size=2).fingerprint()
        == "efb0818783a60a4f7ca742ca4bbf112e42621c2e0f04e790b9edecf37244ddf8"
    )


def test_drawing_leaves_the_global_random_state_alone(random_states):
    before = random_states()
    FakeData(size=5, image_size=2).setup()
    assert random_states() == before


@pytest.mark.parametrize("wrong", [{"size": 0}, {"image_size": 0}, {"num_classes": 0}, {"in_channels": 5}], ids=str)
def test_what_cannot_be_drawn_is_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(DataError, match=f"FakeData needs .* got .*{name}={value}"):
        FakeData(**wrong)
