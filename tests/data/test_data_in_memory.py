import pytest
import torch

from nnray.data import InMemoryDataModule, LabelledImages, Splits
from nnray.errors import DataError


class Own(InMemoryDataModule):
    """A data set of one's own, of which a test can spoil something."""

    in_channels, num_classes, image_size = 2, 3, 4
    mean, std = (0.0,), (1.0,)

    def __init__(self, train=None, test=None):
        super().__init__(batch_size=2)
        self.train, self.test = train, test

    def splits_key(self):
        return (id(self),)

    def load_splits(self):
        torch.rand(1)
        good = LabelledImages(torch.zeros(6, 2, 4, 4), torch.arange(6) % 3)
        return Splits(self.train or good, good, self.test, ("a", "b", "c"))


def test_two_methods_make_a_data_module(random_states):
    before = random_states()
    own = Own()
    assert [len(labels) for _, labels in own.train_dataloader()] == [2, 2, 2]
    assert random_states() == before, "what is drawn while loading must not reach the trial that happens to load"


def test_loading_draws_the_same_for_every_trial():
    class Drawn(Own):
        def load_splits(self):
            part = LabelledImages(torch.rand(6, 2, 4, 4), torch.arange(6) % 3)
            return Splits(part, part, part, ("a", "b", "c"))

    assert Drawn().fingerprint() == Drawn().fingerprint()


def test_no_test_images_is_said():
    own = Own()
    own.setup("test")
    with pytest.raises(DataError, match="Own has no test images"):
        own.test_dataloader()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            torch.zeros(2, 4, 4, 2),
            torch.arange(2),
            r"should have train images of shape \(N, 2, 4, 4\) .* has \(2, 4, 4, 2\)",
        ),
        (torch.zeros(2, 2, 4, 4), torch.arange(3), r"but has \(2, 2, 4, 4\) and 3 torch.int64"),
        (torch.zeros(2, 2, 4, 4), torch.zeros(2), "2 torch.float32"),
        (torch.zeros(2, 2, 4, 4), torch.tensor([0, 3]), "labels from 0 to 2, but has 0 to 3"),
        (torch.zeros(2, 2, 4, 4), torch.tensor([-1, 0]), "labels from 0 to 2, but has -1 to 0"),
        (torch.zeros(0, 2, 4, 4), torch.arange(0), "Own has no train images"),
    ],
    ids=["axes", "count", "label type", "label too large", "label negative", "empty"],
)
def test_what_does_not_fit_the_class_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Own(train=LabelledImages(images, labels)).setup()


def test_an_abstract_data_module_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        InMemoryDataModule()
