"""What users bring: networks, data modules, tasks and callbacks of their own, some of them ill-behaved."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchmetrics import CatMetric, MeanMetric


class Tiny(nn.Sequential):
    """One convolution."""

    def __init__(self, width: int = 4, in_channels: int = 1, num_classes: int = 10, dropout: float = 0.2) -> None:
        super().__init__(
            nn.Conv2d(in_channels, width, 3, stride=2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(width * 9, num_classes),
        )


class Messy(Tiny):
    """Leaves the process in a state that would change every later trial."""

    def __init__(self, width: int = 4, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__(width, in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        torch.backends.mkldnn.enabled = False
        torch.set_flush_denormal(True)
        torch.set_autocast_enabled("cpu", True)
        torch.utils.deterministic.fill_uninitialized_memory = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        register_module_forward_hook(lambda module, inputs, output: output)
        random.seed(0)
        np.random.seed(0)
        os.environ["NNRAY_TEST_MESS"] = "1"
        os.chdir("/")
        return out


class Raises(nn.Module):
    """Fails when it is built."""

    def __init__(self, message: str = "no such luck", leave: bool = False) -> None:
        super().__init__()
        print("about to fail")
        if leave:
            sys.exit("left")
        raise RuntimeError(message)


class Noise(Dataset[tuple[Tensor, Tensor]]):
    """Random images whose class is the sign of their mean, augmented with Python's and NumPy's generators."""

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(size, 1, 8, 8, generator=generator)
        self.labels = (self.images.mean(dim=(1, 2, 3)) > 0).long()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        shift = random.randrange(3) + np.random.randint(3)
        return self.images[index].roll(shift, dims=-1) + 0.1 * torch.randn(()), self.labels[index]


class NoiseData(pl.LightningDataModule):
    """A data module as Lightning's users write them, with ordinary DataLoaders."""

    unsigned_arguments = frozenset({"num_workers"})

    def __init__(self, size: int = 64, num_workers: int = 0) -> None:
        super().__init__()
        self.size, self.num_workers = size, num_workers

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Noise(self.size), batch_size=16, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Noise(32), batch_size=16, num_workers=self.num_workers)


class GeneratorData(NoiseData):
    """Draws its order from a generator of its own."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Noise(self.size), batch_size=16, shuffle=True, generator=self.generator)


class StreamData(pl.LightningDataModule):
    """Streams its examples, and does not say how many there are."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Stream(64), batch_size=16)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Noise(32), batch_size=16)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Images in a fixed order, as they are."""

    def __init__(self, size: int) -> None:
        self.noise = Noise(size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(self.noise.images, self.noise.labels, strict=True)


class OwnTask(pl.LightningModule):
    """A task that brings its network and its optimizer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 2))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        hits = (self.net(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("val_acc", hits)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class CountingTask(OwnTask):
    """Sums over the epoch in all the ways that Lightning knows, one of them only now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MeanMetric()
        self.seen = CatMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("worst_loss", loss, on_step=True, on_epoch=True, reduce_fx="max")
        self.log("images", float(len(batch[0])), on_epoch=True, reduce_fx="sum")
        if batch_idx == 0:
            self.log("first_loss", loss, on_step=False, on_epoch=True, batch_size=7)
        self.accuracy(loss.detach())
        self.seen.update(batch[0].mean())
        self.log("mean_loss", self.accuracy, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("seen_mean", self.seen.compute().std())
        self.seen.reset()


class ManualTask(OwnTask):
    """Steps by itself, after every third batch, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        loss = F.cross_entropy(self.net(batch[0] + 0.1 * torch.randn_like(batch[0])), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        self.manual_backward(loss)
        if self.trainer.fit_loop.total_batch_idx % 3 == 2:
            self.optimizers().step()
            self.optimizers().zero_grad()


class TaskWithHead(OwnTask):
    """A task around a configured model, with parameters of its own beside it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model
        self.net = nn.Sequential(self.backbone, nn.Linear(10, 2))


class TaskWithOddMetrics(OwnTask):
    """Logs metrics under the names of a row's own columns."""

    def on_train_epoch_end(self) -> None:
        self.log_dict({"epoch": 0.5, "step": 1.5, "time": 2.5})


class LoggingTask(OwnTask):
    """Speaks to its loggers at every step, where it has any, and draws random numbers."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx) + torch.rand(()) * 0.01
        for logger in self.loggers:
            logger.log_metrics({"step_loss": float(loss.detach())}, step=self.global_step)
        return loss


class DivergingTask(OwnTask):
    """Its loss becomes NaN in the second epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.current_epoch == 1 else loss


class Terminated(pl.Callback):
    """Gets SIGTERM in the second epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)


class KillOnce(pl.Callback):
    """Kills its process at a moment of the trial, once per moment: the marker files remember.

    Args:
        folder: Where markers lie; moments whose marker is there already pass by.
        moments: ``"EPOCH:BATCH"``, ``"EPOCH:validation"`` or ``"EPOCH:end"``.
        gently: Raise instead.
    """

    def __init__(self, folder: str, moments: list[str], gently: bool = False) -> None:
        self.folder, self.moments, self.gently = Path(folder), moments, gently

    def _reached(self, moment: str) -> None:
        marker = self.folder / moment.replace(":", "-")
        if moment in self.moments and not marker.exists():
            marker.touch()
            if self.gently:
                raise RuntimeError(f"at {moment}")
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._reached(f"{trainer.current_epoch}:{batch_idx}")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._reached(f"{trainer.current_epoch}:validation")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._reached(f"{trainer.current_epoch}:end")


class Trace(pl.Callback):
    """Notes the training batches that are begun, a line each.

    Args:
        file: Where to.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        with self.file.open("a") as file:
            file.write(f"{trainer.current_epoch}:{batch_idx}\n")


class Slow(pl.Callback):
    """Makes a trial take its time.

    Args:
        seconds: How long each epoch takes at least.
    """

    def __init__(self, seconds: float = 0.5) -> None:
        self.seconds = seconds

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        time.sleep(self.seconds)


class Impatient(pl.Callback):
    """Lets this process wait for an object store that is away for a second, and for each answer as long."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        from nnray.store.files import bucket

        bucket.PATIENCE_S, bucket._ANSWER_S = 1.0, 1
        bucket._connected.cache_clear()


class RaisesOnce(pl.Callback):
    """Fails the first trial that it is a part of in a process."""

    done = False

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not RaisesOnce.done:
            RaisesOnce.done = True
            raise RuntimeError("once")


class SlowBatches(pl.Callback):
    """Makes each epoch take its time, batch by batch.

    Args:
        seconds: How long each training batch takes at least.
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        time.sleep(self.seconds)


class FailsSometimes(pl.Callback):
    """Fails in the second epoch, so often and in such a way as its trial is told to; attempts are noted in a folder.

    Args:
        folder: Where the attempts are noted: a file per trial, with a line per attempt that says how many cores it had.
        name: The trial's file in there.
        how: ``memory`` (Python's MemoryError), ``cuda`` (what PyTorch says), ``kill`` (SIGKILL), ``crash`` (SIGSEGV),
            ``error`` or ``nan``.
        times: So many attempts fail.
    """

    def __init__(self, folder: str, name: str, how: str, times: int = 1) -> None:
        self.path, self.how, self.times = Path(folder) / name, how, times

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        import ray

        if trainer.current_epoch != 1:
            return
        in_worker = ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None
        cores = ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0) if in_worker else 0.0
        with self.path.open("a") as file:
            file.write(f"{cores:g}\n")
        if len(self.path.read_text().splitlines()) <= self.times:
            self._fail(pl_module)

    def _fail(self, module: Any) -> None:
        if self.how == "memory":
            raise MemoryError("that much")
        if self.how == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "crash":
            ctypes.string_at(0)
        if self.how == "nan":
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))
            return
        raise ValueError("mine")
