"""Every test of an operator that comes with the onnx package: imported, built untuned, and run.

    python scripts/check_nodes.py                    # all, eight minutes on one core
    python scripts/check_nodes.py softmax reduce     # whose name has one of these

What computes something else than the test says and than ONNX Runtime does, and what breaks, is
printed and the exit code 1. What is refused in one line is counted by that line. Where values of an
input decide shapes, as they do of most axes and sizes in these tests, they become constants. Left
out are operators of training, of text and of types that no network is computed in. Ends with one
line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import tvm
from onnx import numpy_helper

from dgtl.tvm import hardware as machine
from dgtl.tvm.deploy import network as deploy
from dgtl.tvm.deploy import reference
from dgtl.tvm.deploy.library import Library
from dgtl.tvm.workload.importer.graph import graph_inputs
from dgtl.tvm.workload.importer.model import Network, import_model
from dgtl.tvm.workload.importer.to_relax import one_line
from dgtl.tvm.workload.tasks import lower

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Values = Mapping[str, NDArray]

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
PARTS = ("node", "simple", "pytorch-operator", "pytorch-converted")
LEFT_OUT = (
    *("_expanded", "adagrad", "adam", "momentum", "training", "gradient", "nllloss", "sce_"),
    *("string", "tfidf", "image_decoder", "label_encoder", "tree_ensemble", "optional"),
    *("sequence_map", "cast", "float8", "float4", "bfloat16", "int2", "int4", "linear_e"),
)
"""Parts of names: what ONNX itself writes in other operators, and what no network is made of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("words", nargs="*", help="of names; default: all tests")
    args = parser.parse_args()
    wrong, refused, right = [], Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="dgtl-nodes-") as scratch:
        for folder in sorted(path for part in PARTS for path in (DATA / part).iterdir()):
            name = folder.name.removeprefix("test_")
            if any(part in name.lower() for part in LEFT_OUT):
                continue
            if args.words and not any(word in name for word in args.words):
                continue
            try:
                test = Test.read(folder)
                network, lowered = test.imported(Path(scratch))
            except ValueError as reason:
                refused[one_line(reason)] += 1
                continue
            try:
                # Of a library that was loaded neither name nor place on the disk is used again.
                found = test.wrong(network, lowered, Path(scratch) / f"{name}.so")
            except Exception as error:
                found = f"{type(error).__name__}: {one_line(error)}"
            if found:
                wrong.append(name)
                print(f"{name}: {found}", flush=True)
            right += not found
    for line, times in refused.most_common():
        print(f"{times} refused: {line}")
    print(json.dumps({"right": right, "wrong": wrong, "refused": refused.total()}))
    raise SystemExit(1 if wrong else 0)


@dataclasses.dataclass(frozen=True)
class Test:
    """A model with its inputs, and the outputs that it should give."""

    model: onnx.ModelProto
    inputs: dict[str, NDArray]
    outputs: list[NDArray]

    @classmethod
    def read(cls, folder: Path) -> Test:
        """
        Raises:
            ValueError: it is of values that are no tensors.
        """
        model, files = onnx.load(folder / "model.onnx"), folder / "test_data_set_0"
        values = (*model.graph.input, *model.graph.output)
        if any(value.type.WhichOneof("value") != "tensor_type" for value in values):
            raise ValueError("sequences or optional values as inputs or outputs")
        names = [value.name for value in graph_inputs(model)]
        inputs = {n: _array(files / f"input_{place}.pb") for place, n in enumerate(names)}
        n = len(model.graph.output)
        return cls(model, inputs, [_array(files / f"output_{place}.pb") for place in range(n)])

    def imported(self, scratch: Path) -> tuple[Network, tvm.ir.IRModule]:
        """The network, with fewer inputs where it is refused with all of them.

        Raises:
            ValueError: it is refused.
        """
        try:
            return _lowered(self.model, self.inputs, scratch)
        except Exception:
            return _lowered(_with_constants(self.model, self.inputs), self.inputs, scratch)

    def wrong(self, network: Network, lowered: tvm.ir.IRModule, library: Path) -> str:
        """What is wrong with what it gives when it is built; nothing if that is empty."""
        if network.tail is not None:
            return ""  # a part is left to ONNX Runtime
        deploy.build(lowered, HARDWARE, library)
        values = [network.inputs[value.name] for value in network.model.graph.input]
        outputs = Library(library, HARDWARE.num_cores)(values)
        allowed = reference.tolerance(self.model)
        found = reference.compare_outputs(self.outputs, outputs, allowed)
        if (
            not found.ok
        ):  # of some tests ONNX Runtime thinks otherwise, and networks are made for it
            theirs = reference.run(self.model, self.inputs)
            found = reference.compare_outputs(theirs, outputs, allowed)
        return "" if found.ok else str(found)


HARDWARE = machine.detect(1)


def _lowered(
    model: onnx.ModelProto, values: Values, scratch: Path
) -> tuple[Network, tvm.ir.IRModule]:
    given = {value.name for value in graph_inputs(model)}
    file = scratch / "inputs.npz"
    np.savez(file, **{name: value for name, value in values.items() if name in given})
    network = import_model(model, inputs=file)
    return network, lower(network.model, tvm.target.Target(HARDWARE.target))


def _array(path: Path) -> NDArray:
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def _with_constants(model: onnx.ModelProto, inputs: Values) -> onnx.ModelProto:
    """The model with all inputs but its first one of floats as constants."""
    floats = [name for name, value in inputs.items() if value.dtype.kind == "f"]
    kept = (floats or list(inputs))[0]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.input[:]
    result.graph.input.extend(value for value in model.graph.input if value.name == kept)
    result.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in inputs.items() if name != kept
    )
    return result


if __name__ == "__main__":
    main()
