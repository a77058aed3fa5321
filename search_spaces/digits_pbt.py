"""Population based training on digits: eight networks learn side by side.

Every three epochs the worst go on from the weights of the best, with another learning rate and weight decay. What
changed when stands in each trial's ``record.json`` under ``history``, and per epoch in the columns ``hyper/...``.
"""

from ray import tune

from nnray import Sweep, grid

sweep = Sweep(
    name="digits-pbt",
    base="base/digits.yaml",
    space={"trainer.max_epochs": 24, "optimizer.lr": grid(3e-4, 1e-3, 3e-3, 1e-2), "seed": grid(0, 1)},
    scheduler={
        "name": "pbt",
        "perturbation_interval": 3,
        "synch": True,
        "hyperparam_mutations": {
            "optimizer.lr": tune.loguniform(1e-4, 1e-1),
            "optimizer.weight_decay": tune.loguniform(1e-5, 1e-1),
        },
    },
)
