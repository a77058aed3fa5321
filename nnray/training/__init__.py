"""One trial: from a configuration to a trained network, with Lightning."""

from nnray.training.classifier import Classifier

__all__ = ["Classifier"]
