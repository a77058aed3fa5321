"""What one trial is: its configuration, its signature, its name for people, and where its files lie.

Nothing here trains or stores anything. Resolving a configuration reads the signatures of the classes that it names, so
:mod:`nnray.trial.components` imports PyTorch and Lightning; that happens when the first configuration is resolved.
"""

from nnray.trial.configuration import Configuration, resolve
from nnray.trial.merging import flatten, merge, parse_assignments, read_configuration_file
from nnray.trial.name import trial_names
from nnray.trial.paths import StorePaths, TrialPaths, check_sweep_name
from nnray.trial.signature import SHORT_SIGNATURE, signature_of

__all__ = [
    "SHORT_SIGNATURE",
    "Configuration",
    "StorePaths",
    "TrialPaths",
    "check_sweep_name",
    "flatten",
    "merge",
    "parse_assignments",
    "read_configuration_file",
    "resolve",
    "signature_of",
    "trial_names",
]
