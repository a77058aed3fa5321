"""Faults on purpose: commands are killed, disks fill up, files are damaged; then it is checked that nothing is lost.

For one's own machine, store or cluster there is ``nnray chaos``.
"""

from __future__ import annotations

from nnray.chaos.campaign import Campaign, faults_at, run_campaign
from nnray.chaos.episode import Episode
from nnray.chaos.faults import FAULTS

__all__ = ["FAULTS", "Campaign", "Episode", "faults_at", "run_campaign"]
