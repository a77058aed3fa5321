"""Early stopping: sixty-four recipes on digits, of which ASHA goes on with a third after 1, 3, 9 and 27 epochs.

A trial that is stopped is a result like any other. Run it again with a larger ``num_samples``, and the new trials are
measured against all earlier ones.
"""

from ray import tune

from nnray import Sweep

sweep = Sweep(
    name="digits-asha",
    base="base/digits.yaml",
    space={
        "trainer.max_epochs": 30,
        "optimizer.lr": tune.loguniform(1e-4, 1e-1),
        "optimizer.weight_decay": tune.loguniform(1e-5, 1e-1),
        "data.batch_size": tune.choice([32, 64, 128, 256]),
    },
    num_samples=64,
    scheduler={"name": "asha", "reduction_factor": 3},
)
