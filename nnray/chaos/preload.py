"""Imported by the server that commands are forked from (:mod:`nnray.chaos.launcher`): what every command needs.

None of it starts a thread when it is imported, since threads do not survive a fork.
"""

from __future__ import annotations

import nnray.data
import nnray.models
import nnray.store.bookkeeper
import nnray.sweep.launch
import nnray.training.runner
import nnray.trial.components  # noqa: F401
