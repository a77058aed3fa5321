"""What can stand between two networks: kinds, stages and ranks of a stitching layer, each with a signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.jobs.stitching_layers import KINDS, RANKED
from analysis.networks import Network
from nnray.errors import AnalysisError, did_you_mean

IDENTITY, RANDOM, LEAST_SQUARES, TRAINED = "identity", "random", "least-squares", "trained"
STAGES = (IDENTITY, RANDOM, LEAST_SQUARES, TRAINED)
"""No layer at all, but for the size of images; a layer as it is made; fit to the activations that it stands in for;
trained for the task from there."""


@dataclass(frozen=True)
class Training:
    """How a stitching layer is trained, by AdamW on the cross-entropy of the second network's outputs.

    Attributes:
        epochs: How often it is shown all images.
        lr: The learning rate.
        batch_size: Images in a batch.
        weight_decay: Of AdamW: the penalty on the layer's weights.
    """

    epochs: int = 5
    lr: float = 0.001
    batch_size: int = 128
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1), ("lr", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= least:
                raise AnalysisError(f"{name} is {getattr(self, name)}, where {least} or more is expected")


@dataclass(frozen=True)
class StitchingOptions:
    """What is done with each pair of layers.

    Attributes:
        kinds: Names of :data:`analysis.jobs.stitching_layers.KINDS`.
        stages: Names of :data:`STAGES`.
        ranks: Of low-rank layers, or the smaller width if that is less; inputs of each output of sparse ones.
        ridge: Of the least-squares fit.
        every_pair: Whether each chosen layer of the one goes with each of the other; else layers of equal names.
        training: Of the last stage.
        seed: Of initial values and of the order of training.
    """

    kinds: tuple[str, ...]
    stages: tuple[str, ...]
    ranks: tuple[int, ...] = (8,)
    ridge: float = 0.0
    every_pair: bool = False
    training: Training = Training()
    seed: int = 0

    def __post_init__(self) -> None:
        for argument, names, known in (("kinds", self.kinds, tuple(KINDS)), ("stages", self.stages, STAGES)):
            if not names:
                raise AnalysisError(f"{argument}: at least one of {', '.join(known)} is expected")
            for name in names:
                if name not in known:
                    raise AnalysisError(f"{argument}: there is no {name!r}{did_you_mean(name, known)}")
        if not self.ranks or min(self.ranks) < 1:
            raise AnalysisError(f"rank is {', '.join(map(str, self.ranks))}, where positive numbers are expected")
        if not self.ridge >= 0:
            raise AnalysisError(f"ridge is {self.ridge}, where 0 or more is expected")

    def forms(self) -> Iterator[Form]:
        """Yield what stands between two layers, with the stages that each is measured at."""
        if IDENTITY in self.stages:
            yield Form(IDENTITY, None, (IDENTITY,))
        stages = tuple(stage for stage in STAGES if stage in self.stages and stage != IDENTITY)
        if stages:
            for kind in self.kinds:
                for rank in self.ranks if kind in RANKED else (None,):
                    yield Form(kind, rank, stages)


@dataclass(frozen=True)
class Form:
    """A stitching layer.

    Attributes:
        kind: Its kind, or ``identity``.
        rank: Of kinds that have one; else None.
        stages: Where its accuracy is measured, in this order.
    """

    kind: str
    rank: int | None
    stages: tuple[str, ...]


def signature_of(
    pair: Sequence[Network],
    layers: Sequence[str],
    form: Form,
    stage: str,
    options: StitchingOptions,
    images: Mapping[str, str],
) -> str:
    """Return the identity of a combination: 16 hex digits of a hash of everything that its row depends on.

    Args:
        pair: The two networks.
        layers: A layer of each.
        form: What stands between.
        stage: At which stage.
        options: Of which only those count that the stage depends on.
        images: Fingerprints of the images it is measured on (``shown``) and fit to (``fit``).
    """
    facts: dict[str, Any] = {
        "sides": [[network.trial, network.epoch, layer] for network, layer in zip(pair, layers, strict=True)],
        "kind": form.kind,
        "stage": stage,
        "rank": form.rank,
        "shown": images["shown"],
    }
    if stage != IDENTITY:
        facts["seed"] = options.seed
    if stage in (LEAST_SQUARES, TRAINED):
        facts |= {"fit": images["fit"], "ridge": options.ridge}
    if stage == TRAINED:
        facts["training"] = asdict(options.training)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
