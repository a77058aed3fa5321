"""Plain data as YAML that :mod:`nnray.trial.yaml_loader` reads back as the same data."""

from __future__ import annotations

from typing import Any

import yaml

from nnray.trial.yaml_loader import ConfigurationLoader


class _ConfigurationDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Puts text in quotes that the loader would take for something else, such as ``1e-3``."""

    yaml_implicit_resolvers = ConfigurationLoader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Write a list that stands in two places twice, instead of once with a reference to it."""
        return True


def dump_yaml(values: Any) -> str:
    """Return ``values`` as YAML, keys in the order given."""
    return yaml.dump(values, Dumper=_ConfigurationDumper, sort_keys=False, allow_unicode=True)
