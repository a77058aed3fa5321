import pytest

from nnray.errors import SpaceError
from nnray.space import Resources


def test_what_is_left_out_is_one_core_one_worker_and_a_share_of_the_gpus_there_are():
    assert Resources.of(None) == Resources(cpu=1.0, gpu=None, workers=1)


def test_numbers_are_brought_to_one_type():
    assert Resources.of({"cpu": 2, "gpu": 0.25, "workers": 2.0}) == Resources(cpu=2.0, gpu=0.25, workers=2)
    assert isinstance(Resources.of({"workers": 2.0}).workers, int)


@pytest.mark.parametrize("workers", [0, 1.5, True, "two"])
def test_half_a_worker_is_refused(workers):
    with pytest.raises(SpaceError, match=r"^resources: workers is "):
        Resources.of({"workers": workers})
