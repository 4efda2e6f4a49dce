"""An operator zoo: small ONNX networks, each with what must hold of its layers.

``ZOO`` is the table by name, `inputs` makes what a network can be run on, and `random_chain` is a
hypothesis strategy of more of them.
"""

from zoo import (  # noqa: F401  # each puts its cases into the table
    activations,
    convolutions,
    movements,
    normalizations,
    ports,
    products,
    windows,
)
from zoo.case import ZOO, Case, inputs
from zoo.chains import random_chain

__all__ = ["ZOO", "Case", "inputs", "random_chain"]
