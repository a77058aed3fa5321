"""What is summed up in the course of an epoch, outside the weights: for a state that is taken in its middle.

``LightningModule.log`` sums in a collection of Lightning's loop, and metrics of torchmetrics in attributes that a state
dict leaves out. What a module sums in plain attributes it has to hand over itself, in ``on_save_checkpoint`` and
``on_load_checkpoint``.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torchmetrics import Metric

_DESCRIPTION: tuple[str, ...] = (
    "fx",
    "name",
    "prog_bar",
    "logger",
    "on_step",
    "on_epoch",
    "enable_graph",
    "add_dataloader_idx",
)
_DESCRIPTION += ("dataloader_idx", "metric_attribute")
_OF_A_RESULT = ("value", "cumulated_batch_size", "_forward_cache")


def epoch_sums(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """Return the sums of the running epoch, in types that ``torch.load(weights_only=True)`` reads."""
    results = trainer.fit_loop.epoch_loop._results
    return {
        "logged": {key: _logged(result) for key, result in results.items() if not result.has_reset},
        "metrics": {name: _metric_state(metric) for name, metric in _metrics(module).items()},
    }


def set_epoch_sums(trainer: pl.Trainer, module: pl.LightningModule, sums: dict[str, Any]) -> None:
    """Put sums back that :func:`epoch_sums` returned."""
    metrics = _metrics(module)
    for name, state in sums["metrics"].items():
        metric = metrics[name]
        metric._update_count = state["updates"]
        for key, value in state["values"].items():
            setattr(metric, key, _on(value, metric.device))
    results = trainer.fit_loop.epoch_loop._results
    for key, saved in sums["logged"].items():
        results[key] = _result(saved, trainer, metrics)
    trainer._logger_connector._first_loop_iter = True  # else Lightning clears the sums when the first is added to


def _metrics(module: pl.LightningModule) -> dict[str, Metric]:
    return {name: part for name, part in module.named_modules() if isinstance(part, Metric)}


def _metric_state(metric: Metric) -> dict[str, Any]:
    values = {key: _detached(getattr(metric, key)) for key in metric._defaults}
    return {"updates": metric._update_count, "values": values}


def _logged(result: _ResultMetric) -> dict[str, Any]:
    meta, sync = result.meta, result.meta.sync
    saved: dict[str, Any] = {name: getattr(meta, name) for name in _DESCRIPTION}
    saved |= {"reduce_fx": meta.reduce_fx.__name__, "is_tensor": result.is_tensor}
    saved |= {"sync": sync.should, "rank_zero_only": sync.rank_zero_only, "device": str(result.device)}
    if result.is_tensor:
        found = {name: getattr(result, name, None) for name in _OF_A_RESULT}
        saved["values"] = {name: _detached(value) for name, value in found.items() if isinstance(value, torch.Tensor)}
    return saved


def _result(saved: dict[str, Any], trainer: pl.Trainer, metrics: dict[str, Metric]) -> _ResultMetric:
    meta = _Metadata(**{name: saved[name] for name in _DESCRIPTION}, reduce_fx=saved["reduce_fx"])
    # As LightningModule.log makes it, since it compares the two.
    meta.sync = _Sync(_should=saved["sync"], fn=trainer.strategy.reduce, rank_zero_only=saved["rank_zero_only"])
    result = _ResultMetric(meta, saved["is_tensor"])
    if saved["is_tensor"]:
        device = trainer.strategy.root_device if saved["device"] != "cpu" else torch.device("cpu")
        for name, value in saved["values"].items():
            setattr(result, name, value.to(device))
        result.to(device)
    else:
        result.value = metrics[saved["metric_attribute"]]
    result._update_count = 1
    return result


def _detached(value: Any) -> Any:
    return [tensor.detach() for tensor in value] if isinstance(value, list) else value.detach()


def _on(value: Any, device: torch.device) -> Any:
    return [tensor.to(device) for tensor in value] if isinstance(value, list) else value.to(device)
