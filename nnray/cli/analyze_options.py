"""The options of ``nnray analyze``: those of all analyses first, then those of each."""

from __future__ import annotations

import argparse

from nnray.cli.store_option import add_store_option

KINDS = ("cka", "compare", "figures", "probe", "weights", "connectivity", "ntk", "stitch", "frankenstein", "extract")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("what", metavar="WHAT", help=f"{', '.join(KINDS)}, or a Python file with jobs")
    _add_networks(parser)
    _add_images(parser)
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="the folder under analysis/ (default: after what is computed; several jobs of a file: NAME-JOB)",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any other argument of the analysis as its Python function has it (cka: bandwidth=2.0, connectivity: "
        "points=5), or of your own jobs (repeatable)",
    )
    parser.add_argument("--actors", metavar="N", type=int, default=0, help="Ray actors; 0 for this process (default)")
    parser.add_argument("--gpu", metavar="SHARE", type=float, default=0.0, help="share of a GPU that an actor holds")
    parser.add_argument("--address", help="the Ray cluster to join (else $RAY_ADDRESS, else Ray is started here)")
    parser.add_argument("--plot", metavar="FILE", help="a picture of the result: .pdf, .svg, .png, .html")
    parser.add_argument("--dry-run", action="store_true", help="print which networks and layers, and do nothing")
    _add_pairs(parser)
    _add_stitching(parser)
    _add_single_layers(parser)


def _add_networks(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument("--sweep", metavar="NAME", action="append", help="a sweep, or a trial's signature (repeatable)")
    parser.add_argument(
        "--space", metavar="SPACE", help="a search space: its sweep, whose missing trials are trained first"
    )
    parser.add_argument("--where", metavar="CONDITION", help="only the networks for which this holds (pandas query)")
    parser.add_argument("--epochs", metavar="E", default="last", help="last, best, all, or numbers: 0,4,9 (last)")
    parser.add_argument("--layers", metavar="A,B,...", default="*", help="names or globs of layers (default: all)")


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=("train", "val", "test"), default="test", help="the images (default: test)")
    parser.add_argument("-n", metavar="N", type=int, help="how many images (default: all)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of the choice and order of images (0)")


def _add_pairs(parser: argparse.ArgumentParser) -> None:
    pairs = parser.add_argument_group("of pairs: cka, compare, weights, connectivity, ntk, stitch")
    pairs.add_argument("--batch-size", metavar="B", type=int, help="cka: images in a minibatch (128)")
    pairs.add_argument("--kernel", choices=("linear", "rbf"), help="cka: the kernel (linear)")
    pairs.add_argument("--biased", action="store_true", help="cka: the biased estimate of HSIC")
    pairs.add_argument("--measure", metavar="NAME", help="compare: svcca, procrustes, rsa, ... (required)")
    pairs.add_argument(
        "--option", metavar="NAME=VALUE", action="append", default=[], help="compare: of the measure (repeatable)"
    )
    pairs.add_argument("--same", metavar="A,B", help="pairs of the same layer, trial or epoch alone")
    pairs.add_argument(
        "--against", metavar="TRIAL,...", help="these networks (stitch: the first layers of these) with all others"
    )
    pairs.add_argument("--interval", choices=("bootstrap", "split-half"), help="columns low and high; also of figures")
    pairs.add_argument("--resamples", metavar="N", type=int, help="of intervals (200)")


def _add_stitching(parser: argparse.ArgumentParser) -> None:
    stitch = parser.add_argument_group("of stitch, in parts of frankenstein")
    stitch.add_argument("--kinds", metavar="A,B,...", help="affine, orthogonal, low-rank, sparse (affine)")
    stitch.add_argument("--stages", metavar="A,B,...", help="identity, random, least-squares, trained (last three)")
    stitch.add_argument("--rank", metavar="N,M,...", help="of low-rank layers, inputs of an output of sparse ones (8)")
    stitch.add_argument("--every-pair", action="store_true", help="each layer with each, not with the one of its name")
    stitch.add_argument("--ridge", metavar="X", type=float, help="penalty of the least-squares fit (0)")
    stitch.add_argument("--train-epochs", metavar="N", type=int, help="of training the stitching layer (5)")
    stitch.add_argument("--train-lr", metavar="X", type=float, help="its learning rate (0.001)")
    stitch.add_argument("--train-batch-size", metavar="B", type=int, help="its images in a batch (128)")
    stitch.add_argument("--weight-decay", metavar="X", type=float, help="the penalty on its weights, AdamW's (0.01)")
    stitch.add_argument(
        "--fit-data",
        choices=("train", "val", "test"),
        help="what it is fit to and trained on (train); connectivity, too",
    )
    stitch.add_argument("--fit-n", metavar="N", type=int, help="how many of those (all); connectivity, too")


def _add_single_layers(parser: argparse.ArgumentParser) -> None:
    single = parser.add_argument_group("of single layers: figures, probe, extract")
    single.add_argument("--which", metavar="A,B,...", help="figures: their names; weights: l2, relative or cosine")
    single.add_argument("--reduce", choices=("mean", "max", "flatten"), help="extract: over places")
    single.add_argument("--dtype", help="extract: of what is kept (float32)")
