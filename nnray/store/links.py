"""Symbolic links in trial folders: one that leads out of the store is neither read nor written nor deleted through.

A store itself may be reached through links, and links from one place of a store to another are its owner's business.
"""

from __future__ import annotations

import os
from pathlib import Path

from nnray.errors import StoreError
from nnray.store.files import is_local
from nnray.trial.paths import TrialPaths


def check_links(paths: TrialPaths) -> TrialPaths:
    """Return ``paths`` if the trial's folder and all that it holds lie in the store.

    Raises:
        StoreError: One of its files or folders is a link out of the store; the message names it.
    """
    if not is_local(paths.folder):  # a bucket has no links
        return paths
    found = [paths.folder] if paths.folder.is_symlink() else []
    for folder in (paths.folder, paths.checkpoints, paths.memberships):
        try:
            with os.scandir(folder) as entries:
                found += [Path(entry.path) for entry in entries if entry.is_symlink()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StoreError(f"{folder} cannot be read: {error.strerror}") from error
    root = paths.store.root.resolve()
    for link in found:
        if not Path(os.path.realpath(link)).is_relative_to(root):
            raise StoreError(f"{link} is a symbolic link out of the store, which nnray does not follow")
    return paths
