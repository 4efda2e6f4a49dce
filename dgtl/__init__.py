"""dgtl: fast deployment of deep networks by deep Gaussian transfer learning (ICCV 2021).

The rooms, from the ground up; each imports only those above it in this list:

    core          tasks, design spaces, trials, the history
    device        runs a visit folder where the device is; stands alone
    features      configurations and source tasks as arrays
    measure       where trials come from: the protocol, replay
    search        annealing, and which candidates to run
    results       what a run came to: folder, summary, metrics
    autotvm_logs  AutoTVM's logs as history
    models        cost models: the deep GP, boosted trees, both
    tables        recorded tables to search in, and their folds
    report, tracking    console, figures, pages; W&B
    tvm           all that needs TVM: workloads, measuring, deployment
    methods       ways to tune: the loop, the paper's stages
    run           one run, put together
    front         the command `dgtl`, and what is below

    network = dgtl.tune("model.onnx", seconds=60)
    y = network(x)
    network.save("model_tuned")
    network = dgtl.load("model_tuned")
    dgtl.cost_model()    # for TVM's own MetaSchedule

Importing this package imports none of TensorFlow, TVM, W&B and Hydra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgtl.front.api import Tuned, cost_model, load, tune

__version__ = "0.1.0"
__all__ = ["Tuned", "__version__", "cost_model", "load", "tune"]


def __getattr__(name: str) -> Any:
    """What a user calls, once it is asked for."""
    if name in ("Tuned", "cost_model", "load", "tune"):
        return getattr(importlib.import_module("dgtl.front.api"), name)
    raise AttributeError(f"module 'dgtl' has no attribute {name!r}")
