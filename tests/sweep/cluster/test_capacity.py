"""What nodes can give: it is single nodes that trials must fit, not the sum of a cluster."""

from __future__ import annotations

import pytest

from nnray.errors import SpaceError
from nnray.space.resources import Resources
from nnray.sweep.cluster.capacity import Bundle, Capacity

CPU2: Bundle = {"cpu": 2.0, "gpu": 0.0}
GPU4: Bundle = {"cpu": 8.0, "gpu": 4.0}
HEAD: Bundle = {"cpu": 0.0, "gpu": 0.0}


@pytest.mark.parametrize(
    ("nodes", "asked", "slots"),
    [
        ([CPU2, CPU2], {"cpu": 1.0}, 4),
        ([CPU2, CPU2], {"cpu": 1.5}, 2),
        ([CPU2] * 49, {"cpu": 2 / 49}, 49 * 49),
        ([CPU2, GPU4], {"cpu": 1.0, "gpu": 0.25}, 8),
        ([CPU2, HEAD], {"cpu": 0.0}, 3),
    ],
    ids=["whole", "what is left of a node adds up to nothing", "rounding", "gpu share", "nothing asked"],
)
def test_slots_are_counted_node_by_node(nodes: list[Bundle], asked: Bundle, slots: int) -> None:
    assert Capacity(tuple(nodes)).slots(asked) == slots


@pytest.mark.parametrize(
    ("capacity", "asked", "message"),
    [
        (Capacity((CPU2, CPU2)), {"cpu": 3.0}, "a trial asks for 3 cpu, but no node has more than 2"),
        (Capacity((CPU2,)), {"gpu": 0.5}, "a trial asks for 0.5 gpu, but no node has more than 0"),
        (
            Capacity(({"cpu": 16.0, "gpu": 0.0}, GPU4)),
            {"cpu": 9.0, "gpu": 1.0},
            "a trial asks for 9 cpu and 1 gpu, but no node has them together",
        ),
        (
            Capacity((HEAD,), (GPU4,)),
            {"cpu": 9.0},
            "a trial asks for 9 cpu, but no node, nor any that the autoscaler may add, has more than 8",
        ),
    ],
    ids=["sum of nodes", "no gpu", "not together", "autoscaler"],
)
def test_what_no_node_can_ever_give_is_refused(capacity: Capacity, asked: Bundle, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        capacity.bundle(Resources(**asked))
    assert str(error.value) == f"resources: {message}"


@pytest.mark.parametrize("addable", [(GPU4,), None], ids=["known", "unknown"])
def test_what_an_autoscaler_may_add_counts(addable: tuple[Bundle, ...] | None) -> None:
    assert Capacity((HEAD,), addable).bundle(Resources(gpu=2.0)) == {"cpu": 1.0, "gpu": 2.0}


@pytest.mark.parametrize(
    ("nodes", "cpu", "share"),
    [([GPU4], 1.0, 0.5), ([{"cpu": 64.0, "gpu": 0.0}, GPU4], 1.0, 0.5), ([CPU2], 1.0, 0.0), ([GPU4], 0.0, 1.0)],
    ids=["cores per gpu", "cores beside no gpu don't count", "no gpu", "no core asked"],
)
def test_the_share_of_a_gpu(nodes: list[Bundle], cpu: float, share: float) -> None:
    assert Capacity(tuple(nodes)).bundle(Resources(cpu=cpu))["gpu"] == share
