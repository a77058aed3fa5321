"""End a trial before its last epoch, from the ``on_epoch`` callback of :func:`nnray.training.runner.run_trial`.

The callback is called when the state to continue behind the epoch is on disk, so that no epoch is trained twice. Raised
after the last epoch they change nothing: the trial is complete.
"""

from __future__ import annotations


class LeaveTraining(Exception):  # noqa: N818 (like StopIteration, it is no error)
    """Base of the two ways to leave a trial before its end."""


class StopTraining(LeaveTraining):
    """The trial has been trained for long enough: what there is, is its result.

    The record says ``stopped`` and has everything that a completed trial's has. The weights of the last epoch are kept,
    Lightning calls ``on_train_end`` as after its own early stopping, and ``resume.ckpt`` stays, so that the trial could
    be continued. It is not trained again.
    """


class InterruptTraining(LeaveTraining):
    """The trial is to be continued later, with the same bits as if it had not been left.

    The record says ``pending``, as for a trial whose runner was killed, and ``resume.ckpt`` is that of the next epoch.
    The weights of the last epoch are kept too, unless only the best are: :func:`nnray.training.runner.settle_stopped`
    can make a stopped trial of it.
    """
