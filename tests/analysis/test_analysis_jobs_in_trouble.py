"""Jobs on networks that are broken, in folders that others use, with arguments that cannot be meant."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import analysis
from analysis.activations import activations
from analysis.jobs.folder import JobFolder
from analysis.jobs.gram_vectors import GramOptions, gram_of, square_of
from analysis.pool import Actors, pool_of
from analysis.similarity import linear_cka
from nnray.errors import AnalysisError, StoreError
from nnray.graph import GraphModule


def weights_of(network: analysis.Network) -> Path:
    return network.store / "trials" / network.trial / "checkpoints" / f"epoch={network.epoch:04d}.safetensors"


def test_a_network_of_which_no_layer_is_finite_is_errors_and_not_the_end(copied):
    path = weights_of(copied[0])
    save_file({name: value * float("nan") for name, value in load_file(path).items()}, path)
    result = copied.cka("*.relu", n=32)
    assert set(result.errors["trial"]) == {copied[0].trial}
    assert (result.errors["error"] == "activations of 32 of the 32 images of minibatch 0 are not finite").all()
    assert set(result["trial_a"]) == {network.trial for network in copied[1:]}


def test_layers_that_are_not_finite_or_too_large_for_half_precision_are_not_extracted(copied):
    for network, factor in ((copied[0], float("nan")), (copied[1], 1e6)):
        weights = load_file(weights_of(network))
        changed = {name: value * (factor if name.startswith("linear") else 1) for name, value in weights.items()}
        save_file(changed, weights_of(network))
    acts = copied[:2].extract(["pool", "linear"], n=32, dtype="float16")
    assert acts.index["layer"].tolist() == ["pool", "pool"]
    assert acts.errors[["trial", "layer"]].to_numpy().tolist() == [
        [copied[0].trial, "linear"],
        [copied[1].trial, "linear"],
    ]
    assert acts.errors["error"][0] == "activations of 32 of 32 images are not finite (images 0 to 31)"
    assert acts.errors["error"][1].startswith("what is kept of the activations is not finite in float16")
    assert acts[copied[0].trial, "pool"].shape == (32, *acts.index["shape"][0][1:])
    again = copied[:2].extract(["pool", "linear"], n=32, dtype="float16")
    assert again.errors.equals(acts.errors)


def test_networks_with_outputs_that_are_not_finite_are_errors_of_lines_and_stitching(copied):
    weights = load_file(weights_of(copied[0]))
    save_file({name: value * float("nan") for name, value in weights.items()}, weights_of(copied[0]))
    with pytest.raises(AnalysisError, match=r"of the weights of .* are not finite"):
        copied[:2].connectivity(points=2, n=20, fit_n=20)
    stitched = copied[:2].stitching("pool", stages="least-squares", n=20, fit_n=20)
    assert "outputs for 20 of 20 images are not finite" in " ".join(stitched.errors["error"])


def test_kernels_are_of_all_images_where_there_are_few(copied):
    images = torch.rand(5, 1, 8, 8)
    assert copied[:2].ntk_alignment(data=images).equals(copied[:2].ntk_alignment(data=images, n=5))
    with pytest.raises(AnalysisError, match="1 images are too few"):
        copied[:2].ntk_alignment(data=images[:1])


class _Views(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1)


def test_networks_that_take_the_usual_order_in_memory_for_granted_get_it():
    torch.manual_seed(0)
    layers = {"conv": torch.nn.Conv2d(1, 2, 3), "pool": torch.nn.MaxPool2d(2), "flat": _Views()}
    model, images = GraphModule(layers).eval(), torch.rand(4, 1, 8, 8)
    for names in (("conv", "pool"), ("conv", "pool", "flat"), ("conv", "pool")):
        values = activations(model, images, names)
        with torch.no_grad():
            expected = model(images, outputs=names)
        assert list(values) == list(expected)
        for name in names:
            torch.testing.assert_close(values[name], expected[name])


@pytest.mark.parametrize("file", ["config.yaml", "record.json"])
def test_a_network_that_cannot_be_read_is_an_error_and_not_the_end(copied, file):
    (copied.store / "trials" / copied[0].trial / file).write_text("{")
    result = copied.cka("linear", n=32)
    assert result.errors["trial"].tolist() == [copied[0].trial]
    assert file in result.errors["error"][0]
    assert len(result.matrix()) == len(copied) - 1
    with pytest.raises(StoreError, match=file):
        copied[:1].cka("linear", n=32)


def test_weights_of_other_shapes_are_one_line(copied):
    path = weights_of(copied[0])
    save_file({name: torch.zeros(3) for name in load_file(path)}, path)
    with pytest.raises(StoreError, match=r"don't fit its model of today: .*size mismatch[^\n]*$"):
        copied[0].load()


@pytest.mark.parametrize(("what", "parts"), [("cka", "grams"), ("figures", "rows")])
def test_a_damaged_part_is_named(copied, what, parts):
    job = functools.partial(getattr(copied, what), "linear", n=32, name="mine")
    job()
    part = next((copied.store / "analysis/mine" / parts).iterdir())
    part.write_bytes(b"x")
    with pytest.raises(AnalysisError, match=rf"{part.name} is damaged, delete it"):
        job()
    part.unlink()
    assert len(job())


def test_what_another_command_is_writing_is_left_alone(tmp_path):
    folder = JobFolder(tmp_path, "cka", {}, "mine")
    folder.open([])
    young, old = folder.part("grams", ".young", ".part"), folder.part("grams", ".old", ".part")
    for path in (young, old):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    JobFolder(tmp_path, "cka", {}, "mine").open([])
    assert young.exists()
    assert not old.exists()


def test_folders_of_activations_that_a_kill_left_are_removed(copied):
    acts = copied.extract("linear", n=8, name="mine")
    left, others = (acts.folder / "values" / f".{copied[0].trial}-epoch=0001.{end}.unfinished" for end in "ab")
    for folder in (left, others):
        folder.mkdir()
        (folder / "0.npy").touch()
    for path in (left / "0.npy", left):
        os.utime(path, (time.time() - 7200,) * 2)
    os.utime(others, (time.time() - 7200,) * 2)  # its file has just been written to
    copied.extract("linear", n=8, name="mine")
    assert not left.exists()
    assert others.exists()


EXTRACTION = """
import os, signal, sys
import torch
import analysis
from analysis.jobs import extraction, growing_arrays

store, noted_every = sys.argv[1], float(sys.argv[2])
extraction.FORWARD_BATCH, growing_arrays._NOTED_EVERY_S = 8, noted_every
original, batches = extraction.activations, []


def killed(model, images, patterns):
    batches.append(len(images))
    if len(batches) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(model, images, patterns)


extraction.activations = killed
analysis.open(store, "small")[:1].extract(["flatten", "linear"], n=60, name="mine")
"""


@pytest.mark.parametrize(("noted_every", "rest"), [(0.0, 36), (9.0, 60)], ids=["noted", "killed before it was noted"])
def test_an_extraction_that_was_killed_goes_on_within_the_network(copied, monkeypatch, noted_every, rest):
    from analysis.jobs import extraction

    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", EXTRACTION, str(copied.store), str(noted_every)]
    assert subprocess.run(words, env=environment, check=False).returncode == -signal.SIGKILL
    values = copied.store / "analysis/mine/values"
    (left,) = values.iterdir()
    assert left.name.endswith(".unfinished")
    shown, original = [], extraction.activations

    def counted(model, images, patterns):
        shown.append(len(images))
        return original(model, images, patterns)

    monkeypatch.setattr(extraction, "activations", counted)
    monkeypatch.setattr(extraction, "FORWARD_BATCH", 8)
    found = copied[:1].extract(["flatten", "linear"], n=60, name="mine")
    assert sum(shown) == rest
    assert [path.name for path in values.iterdir()] == [f"{copied[0].trial}-epoch=0001"]
    assert sorted(path.name for path in next(values.iterdir()).iterdir()) == ["0.npy", "1.npy", "layers.json"]
    anew = copied[:1].extract(["flatten", "linear"], n=60, name="anew")
    for layer in ("flatten", "linear"):
        assert (found[copied[0].trial, layer] == anew[copied[0].trial, layer]).all()


def test_what_a_kill_left_damaged_is_made_anew(copied):
    whole = copied[:1].extract("linear", n=20, name="whole")
    left = copied.store / "analysis/mine/values" / f".{copied[0].trial}-epoch=0001.dead.unfinished"
    left.mkdir(parents=True)
    (left / "progress.json").write_text('{"layers": ["linear"], "rows": 8}')
    (left / "0.npy").write_bytes(b"nothing")
    found = copied[:1].extract("linear", n=20, name="mine")
    assert (found[copied[0].trial, "linear"] == whole[copied[0].trial, "linear"]).all()
    assert not left.exists()


def test_the_same_layers_extracted_by_two_at_once(copied, monkeypatch):
    from analysis.jobs import extraction

    def twice(*shared):
        first, second = (original(*shared) for _ in range(2))

        def work(network):
            reduce_once.append(lambda: second(network))
            first(network)

        return work

    original, reduce_once = extraction.make_extraction_work, []

    def reduce(values):
        if reduce_once:  # the other one begins and ends while the first is at work
            reduce_once.pop()()
        return values

    monkeypatch.setattr(extraction, "make_extraction_work", twice)
    acts = copied[:1].extract("linear", n=8, reduce=reduce, name="both")
    assert acts.errors.empty
    assert acts[copied[0].trial, "linear"].shape == (8, 10)
    assert [path.name for path in (acts.folder / "values").iterdir()] == [f"{copied[0].trial}-epoch=0001"]


def make(value):
    def inner(network, activations):
        return value

    return inner


def given(network, activations, k):
    return k


@pytest.mark.parametrize(
    "of",
    [make, lambda k: functools.partial(given, k=k), lambda k: eval(f"lambda network, activations: {k}")],
    ids=["closure", "partial", "lambda without source"],
)
def test_functions_with_other_values_in_them_are_other_computations(copied, of):
    for k in (5, 10):
        assert set(copied.map(of(k))["value"]) == {k}


def test_values_of_types_that_do_not_mix_become_text(copied):
    first = copied[0].trial
    result = copied.map(lambda network, activations: 1 if network.trial == first else "text")
    assert result["value"].tolist() == ["1", "text", "text", "text"]


@pytest.mark.parametrize(
    "call",
    [
        lambda nets, images: nets.cka(data=images, name="mine"),
        lambda nets, images: nets.extract(data=images, name="mine"),
        lambda nets, images: nets.figures(data=images, name="mine"),
        lambda nets, images: nets.map(given, name="mine"),
    ],
    ids=["cka", "extract", "figures", "map"],
)
def test_no_networks_are_refused_and_nothing_is_written(copied, call):
    with pytest.raises(AnalysisError, match="there are no networks"):
        call(copied[:0], np.zeros((9, 1, 8, 8), np.float32))
    assert not (copied.store / "analysis").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": 3}, "data: an array of images is expected, not int"),
        ({"data": [torch.zeros(1, 8, 8), torch.zeros(1, 7, 8)]}, "data: this is no array of images"),
        ({"data": (1, 2, 3)}, "a pair of images and labels, and this one has 3 parts"),
        ({"data": np.zeros((9, 1, 8, 8), np.uint8)}, "these images are uint8, as files hold them"),
        ({"seed": -1}, "seed is -1"),
        ({"n": 0.5}, "n is 0.5"),
        ({"kernel": "rfb"}, "did you mean 'rbf'"),
        ({"bandwidth": 0}, "bandwidth is 0"),
    ],
)
def test_arguments_that_cannot_be_meant(networks, options, message):
    with pytest.raises(AnalysisError, match=message):
        networks.cka("linear", **options)


def test_images_in_the_types_that_people_have(copied):
    images = torch.rand(32, 1, 8, 8)
    expected = copied.cka("linear", data=images, name="one")
    for number, same in enumerate((images.double().numpy(), images.clone().requires_grad_())):
        assert copied.cka("linear", data=same, name=f"other{number}").equals(expected)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("value", [0.1, 0.3, 1e4 / 3])
def test_constant_layers_have_no_similarity_however_they_are_rounded(unbiased, value):
    options = GramOptions(("*",), 77, "linear", 1.0, unbiased)
    assert not gram_of(square_of(torch.full((77, 5), value), options), options).any()
    assert np.isnan(linear_cka(np.full((77, 5), value), np.full((77, 3), value / 7), unbiased=unbiased))


def test_more_actors_than_cores_do_not_wait_for_ever(ray_session):
    import ray

    count = int(ray.cluster_resources()["CPU"]) + 2
    with pool_of(Actors(count)) as pool:
        done = list(pool.work_through(range(2 * count), lambda: lambda task: task + 1))
    assert sorted(result.value for result in done) == list(range(1, 2 * count + 1))


def test_workers_that_cannot_begin_say_why(ray_session):
    def fails():
        raise ValueError("no way to begin")

    with pool_of(Actors(1)) as pool, pytest.raises(ValueError, match="no way to begin"):
        list(pool.work_through([1], fails))


def test_actors_that_nobody_can_have(ray_session):
    with pytest.raises(AnalysisError, match="-1 is no number of actors"):
        Actors(-1)
    with pytest.raises(AnalysisError, match="each asks for 99 GPU, and there is"), pool_of(Actors(1, gpu=99)):
        pass


def test_a_job_notes_its_networks_before_it_begins(tmp_path):
    from analysis.networks import Network

    for epoch in (1, 0):
        JobFolder(tmp_path, "cka", {}, "mine").open([Network(tmp_path, "0123456789abcdef", epoch)])
    assert (tmp_path / "analysis/mine/networks.txt").read_text() == "0123456789abcdef 0\n0123456789abcdef 1\n"
