"""What fits on a machine beside the trials that run."""

from __future__ import annotations

import pytest

from nnray.sweep.room import Request, Room


def _request(cpu: float = 0.0, gpu: float = 0.0, workers: int = 1) -> Request:
    return Request({"cpu": cpu, "gpu": gpu}, workers)


@pytest.mark.parametrize(
    ("running", "next_one", "fits"),
    [
        ([_request(cpu=1)], _request(cpu=1), True),
        ([_request(cpu=1), _request(cpu=1)], _request(cpu=1), False),
        ([_request(cpu=1)], _request(cpu=1.5), False),
        ([_request(cpu=0.3333)] * 5, _request(cpu=0.3333), True),
        ([_request(gpu=0.6), _request(gpu=0.6)], _request(gpu=0.6), False),
        ([_request(gpu=0.6), _request(gpu=0.6)], _request(gpu=0.4), True),
        ([_request(gpu=0.1)], _request(gpu=1), True),
        ([_request(gpu=0.1)], _request(gpu=2), False),
        ([_request(gpu=0.3333)] * 5, _request(gpu=0.3333), True),
        ([_request(gpu=0.3333)] * 6, _request(gpu=0.3333), False),
        ([_request(cpu=1)], _request(cpu=0.5, workers=2), True),
        ([_request(cpu=1)], _request(cpu=1, workers=2), False),
        ([_request(gpu=1)], _request(gpu=1, workers=2), False),
        ([_request(), _request()], _request(), False),
    ],
    ids=[
        "a core is left",
        "no core is left",
        "half a core too much",
        "thirds of cores",
        "a share is on one gpu",
        "what is left of a gpu",
        "the other gpu",
        "two whole gpus",
        "thirds of gpus",
        "no fourth third",
        "two workers on a core",
        "a core for each worker",
        "a gpu for each worker",
        "nothing asked: one per core",
    ],
)
def test_on_two_cores_and_two_gpus(running: list[Request], next_one: Request, fits: bool) -> None:
    room = Room({"cpu": 2.0, "gpu": 2.0})
    for number, request in enumerate(running):
        assert room.fits(request)
        room.occupy(str(number), request)
    assert room.fits(next_one) is fits


def test_what_a_trial_occupied_is_free_when_it_has_ended() -> None:
    room = Room({"cpu": 1.0, "gpu": 0.0})
    room.occupy("first", _request(cpu=1))
    assert not room.fits(_request(cpu=1))
    room.release("first")
    assert room.fits(_request(cpu=1))


def test_a_bound_holds_also_where_ray_says_what_fits() -> None:
    room = Room(None, at_a_time=2)
    room.occupy("first", _request(cpu=100))
    assert room.fits(_request(cpu=100))
    room.occupy("second", _request(cpu=100))
    assert not room.fits(_request(cpu=100))
