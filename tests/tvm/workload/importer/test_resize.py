"""Which resizes are written out; what they compute is in the zoo."""

from __future__ import annotations

import numpy as np
from onnx_models import constant, model, node, value

from dgtl.tvm.workload.importer.resize import written_out


def test_a_node_without_inputs_may_stand_beside_a_resize():
    nodes = [
        node("RandomNormal", "", "r", shape=[1, 1, 4, 4]),
        node("Resize", "x _ scales", "y", mode="nearest"),
    ]
    scales = constant("scales", [1, 1, 2, 2], np.float32)
    outputs = [value("y", [1, 1, 8, 8]), value("r", [1, 1, 4, 4])]
    given = model(nodes, [value("x", [1, 1, 4, 4])], outputs, [scales])
    assert [n.op_type for n in written_out(given).graph.node] == ["RandomNormal", "Resize"]
