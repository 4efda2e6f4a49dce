"""ONNX files as people have them: each imports as what it is, or is refused in one right line."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_models as forms
import pytest
from onnx import TensorProto
from onnx_models import BOOL, FLOAT, IMAGE, INT64, constant, node, value, weight

from dgtl.core.model_file import file_digest, read_model
from dgtl.tvm.deploy.reference import compare_outputs, expected_outputs, run
from dgtl.tvm.workload.importer.model import import_model
from dgtl.tvm.workload.importer.shapes import input_shapes
from dgtl.tvm.workload.importer.to_relax import to_relax

HALF, DOUBLE = TensorProto.FLOAT16, TensorProto.DOUBLE

FORMS = {
    "torch_view": forms.torch_view(),
    "tensorflow": forms.tensorflow(),
    "weights_as_inputs": forms.weights_as_inputs(),
    "if_on_a_constant": forms.choice(True),
    "local_function": forms.function(),
    "detector": forms.detector(),
    "constant_weights": forms.model(
        [
            node("Constant", "", "k", value=weight("k", 8, 8, 3, 3)),
            node("Identity", "k", "k2"),
            node("Conv", "x k2", "y", pads=[1] * 4),
        ],
        [value("x", IMAGE)],
        [value("y", IMAGE)],
    ),
    "shape_arithmetic": forms.after_conv(
        [
            node("Shape", "a", "s"),
            node("ConstantOfShape", "s", "ones", value=constant("v", [1.0], np.float32)),
            node("Expand", "k s", "e"),
            node("Greater", "a e", "g"),
            node("Where", "g a ones", "q"),
            node("Gather", "s last", "length"),
            node("Range", "zero length one", "r"),
            node("Cast", "r", "rf", to=FLOAT),
            node("Mul", "q rf", "y"),
        ],
        [value("y", IMAGE)],
        [
            constant("k", [[0.1]], np.float32),
            *(constant(name, v) for name, v in (("last", 3), ("zero", 0), ("one", 1))),
        ],
    ),
    "outputs_of_all_kinds": forms.after_conv(
        [
            node("Identity", "x", "same"),
            node("Identity", "k", "fixed"),
            node("Relu", "a", "r"),
            node("Shape", "a", "shape"),
            node("ReduceMean", "a", "mean", keepdims=0),
            node("Greater", "a mean", "above"),
            node("ArgMax", "a", "most", axis=1),
            node("Cast", "a", "half", to=HALF),
        ],
        [
            value("a", IMAGE),
            value("same", IMAGE),
            value("fixed", [3]),
            value("x", IMAGE),
            value("r", IMAGE),
            value("shape", [4], INT64),
            value("mean", []),
            value("above", IMAGE, BOOL),
            value("most", [1, 1, 16, 16], INT64),
            value("half", IMAGE, HALF),
        ],
        [weight("k", 3)],
    ),
    "names": forms.model(
        [
            onnx.helper.make_node("Conv", ["in put/ä:0", "w 1"], ["a/b c"], pads=[1] * 4),
            onnx.helper.make_node("Relu", ["a/b c"], ["1.out"]),
        ],
        [value("in put/ä:0", IMAGE), value("unused", [3])],
        [value("1.out", IMAGE)],
        [weight("w 1", 8, 8, 3, 3)],
    ),
    "softmax_of_old": forms.after_conv(
        [node("Softmax", "a", "y")], [value("y", IMAGE)], opset=9, ir=4
    ),
    "attributes_of_old": forms.after_conv(
        [
            node("Clip", "a", "b", min=0.0, max=6.0),
            node("Slice", "b", "c", axes=[1], starts=[0], ends=[1]),
            node("Squeeze", "c", "d", axes=[1]),
            node("Unsqueeze", "d", "e", axes=[0]),
            node("ReduceSum", "e", "f", axes=[1], keepdims=0),
            node("Pad", "f", "g", pads=[0, 1, 1, 0, 1, 1]),
            node("Dropout", "g", "h", ratio=0.5),
            node("TopK", "h", "i j", k=3, axis=-1),
            node("Cast", "i", "y", to=DOUBLE),
        ],
        [value("y", None, DOUBLE), value("j", None, INT64)],
        opset=9,
        ir=4,
    ),
    "upsample_7": forms.after_conv(
        [node("Upsample", "a", "y", scales=[1.0, 1.0, 2.0, 2.0], mode="nearest")],
        [value("y", None)],
        opset=7,
        ir=4,
    ),
    "upsample_9": forms.after_conv(
        [node("Upsample", "a s", "y", mode="linear")],
        [value("y", None)],
        [constant("s", [1, 1, 2, 2], np.float32)],
        opset=9,
        ir=4,
    ),
    "resize_10": forms.after_conv(
        [node("Resize", "a s", "y", mode="nearest")],
        [value("y", None)],
        [constant("s", [1, 1, 1.5, 1.5], np.float32)],
        opset=10,
        ir=5,
    ),
    "functions_of_onnx": forms.after_conv(
        [node("Celu", "a", "b"), node("Swish", "b", "y")], [value("y", IMAGE)], opset=24, ir=10
    ),
    "layer_normalization_in_full": forms.after_conv(
        [node("LayerNormalization", "a k", "y mean")],
        [value("y", IMAGE), value("mean", None)],
        [weight("k", 16)],
    ),
    "deconvolution_by_size": forms.after_conv(
        [node("ConvTranspose", "a v", "y", strides=[2, 2], output_shape=[31, 32])],
        [value("y", None)],
        [weight("v", 8, 4, 3, 3)],
    ),
    "quantised": forms.model(
        [
            node("QuantizeLinear", "x s z", "q"),
            node("DequantizeLinear", "q s z", "d"),
            node("DequantizeLinear", "k s z", "kd"),
            node("Conv", "d kd", "y", pads=[1] * 4),
        ],
        [value("x", IMAGE)],
        [value("y", IMAGE)],
        [
            constant("k", np.arange(-36, 36).reshape(1, 8, 3, 3), np.int8),
            constant("s", 0.05, np.float32),
            constant("z", 0, np.int8),
        ],
    ),
    "bytes": forms.model(
        [
            node("Cast", "x", "f", to=FLOAT),
            node("Transpose", "f", "t", perm=[0, 3, 1, 2]),
            node("Conv", "t w", "y", pads=[1] * 4),
        ],
        [value("x", [1, 16, 16, 8], TensorProto.UINT8)],
        [value("y", None)],
        [weight("w", 8, 8, 3, 3)],
    ),
    "half": forms.model(
        [node("Conv", "x w", "y", pads=[1] * 4)],
        [value("x", IMAGE, HALF)],
        [value("y", None, HALF)],
        [weight("w", 8, 8, 3, 3, dtype=np.float16)],
    ),
    "masked": forms.model(
        [node("Conv", "x w", "a", pads=[1] * 4), node("Where", "m a k", "y")],
        [value("x", IMAGE), value("m", [1, 1, 16, 16], BOOL), value("k", [])],
        [value("y", None)],
        [weight("w", 8, 8, 3, 3)],
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_tvm_is_given_computes_what_the_file_does(name):
    """TVM imports it, and ONNX Runtime makes the same of it as of the file."""
    network = import_model(FORMS[name])
    to_relax(network.model)
    assert list(network.inputs) == list(input_shapes(network.original))
    assert list(network.inputs) == list(input_shapes(network.model))
    found = compare_outputs(expected_outputs(network), run(network.model, network.inputs), 1e-4)
    assert found.ok, found


def test_shapes_by_name_fix_what_is_open_and_equal_names_are_equal_lengths():
    network = import_model(forms.bert(), shapes={"input_ids": [1, 16]})
    assert set(input_shapes(network.model).values()) == {(1, 16)}
    assert network.remarks[0] == "input attention_mask (batchxsequence) counts as 1x16"


def test_a_batch_that_alone_is_open_counts_as_one_and_is_told():
    network = import_model(forms.torch_view())
    assert input_shapes(network.model) == {"x": (1, 8, 16, 16)}
    assert network.remarks == ("input x (Nx8x16x16) counts as 1x8x16x16",)
    assert input_shapes(import_model(forms.torch_view(), shapes={"x": [2, 8, 16, 16]}).model) == {
        "x": (2, 8, 16, 16)
    }


OPEN = forms.dense([value("x", ["N", 3, "H", None])])
REFUSED = {
    "open extents": (
        OPEN,
        {},
        "input x (Nx3xHx?) is open in extents 0 (N), 2 (H), 3: "
        "give workload.shapes='{x: [1,3,224,224]}'",
    ),
    "open extents of one name": (
        forms.dense([value("x", ["N", "L"]), value("state", [2, "N", 8])]),
        {},
        "give workload.shapes='{x: [1,128], state: [2,1,8]}'",
    ),
    "open extents without a name": (
        forms.dense([value("x", ["?", 3, "?", "?"])]),
        {},
        "input x (?x3x?x?) is open in extents 0, 2, 3: give workload.shapes='{x: [1,3,224,224]}'",
    ),
    "no shape": (
        forms.dense([value("x", None)]),
        {},
        "input x has no shape: give workload.shapes=",
    ),
    "no such input": (OPEN, {"z": [1]}, "the network has no input z; its inputs are x"),
    "rank": (OPEN, {"x": [1, 3]}, "input x has 4 extents (Nx3xHx?), 2 are given"),
    "fixed": (OPEN, {"x": [1, 4, 5, 5]}, "input x: extent 1 is 3 in the network"),
    "no extent": (OPEN, {"x": [1, 3, "H", 5]}, "input x: H is no extent"),
    "type": (
        forms.dense([value("x", [1, 4], TensorProto.STRING)]),
        {},
        "input x is of string: inputs of float32, float16, ",
    ),
    "operator set": (
        forms.dense([value("x", [1, 4])], opset=99),
        {},
        "of operator set 99: those from 1 to ",
    ),
    "operators": (
        forms.loop(),
        {},
        "TVM cannot import 2 kinds of operators: Loop (1), com.microsoft::GroupNorm (2 times)",
    ),
    "laid out": (
        forms.model(
            [node("Conv", "x w", "y", domain="com.microsoft.nchwc")],
            [value("x", [1, 4, 8, 8])],
            [value("y", None)],
            [weight("w", 8, 4, 3, 3)],
            domains=["com.microsoft.nchwc"],
        ),
        {},
        "com.microsoft.nchwc::Conv (1); ONNX Runtime has laid this file out for its own processor: "
        "save it with ORT_ENABLE_EXTENDED",
    ),
    "depends on values": (
        forms.tail_in_the_middle(),
        {},
        "MatMul_late (MatMul) comes after NonZero_i (NonZero), whose result's shape depends on",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_imported_is_told_in_one_line(name):
    model, shapes, line = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(line)) as error:
        import_model(model, shapes=shapes or None)
    assert "\n" not in str(error.value)


def test_the_importers_own_refusal_names_the_node():
    model = forms.after_conv(
        [node("Einsum", "a v", "y", equation="...,...->...")], [value("y", None)], [weight("v", 3)]
    )
    with pytest.raises(ValueError, match=r"TVM cannot import this model: Einsum_y \(Einsum\): "):
        to_relax(import_model(model).model)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Mean"])
def test_sums_of_several_are_taken_two_by_two(op):
    """Stacked into one tensor they would fuse with no layer."""
    model = forms.after_conv([node(op, "a x a", "y")], [value("y", IMAGE)])
    assert "stack" not in to_relax(import_model(model).model).script()


def test_slopes_of_old_are_of_channels():
    """ONNX Runtime has no PRelu of before 7; there is a slope for each of 16 columns, too."""
    shape = [1, 16, 4, 16]
    old = forms.model(
        [node("PRelu", "x k", "y")],
        [value("x", shape)],
        [value("y", shape)],
        [weight("k", 16)],
        opset=6,
    )
    network = import_model(old)
    x, k = network.inputs["x"], onnx.numpy_helper.to_array(old.graph.initializer[0])
    expected = np.where(x < 0, x * k[:, None, None], x)
    np.testing.assert_allclose(run(network.model, network.inputs)[0], expected)
    to_relax(network.model)


def test_an_exponent_may_be_a_whole_number():
    model = forms.after_conv([node("Pow", "a two", "y")], [value("y", IMAGE)], [constant("two", 2)])
    to_relax(import_model(model).model)


# --- inputs ------------------------------------------------------------------------------------


def test_ids_are_rows_of_their_tables_and_masks_are_ones():
    inputs = import_model(forms.bert(), shapes={"input_ids": [1, 256]}).inputs
    assert 2 < inputs["input_ids"].max() < 100
    assert inputs["input_ids"].min() >= 0
    assert set(inputs["token_type_ids"].ravel()) == {0, 1}
    assert inputs["attention_mask"].min() == 1
    assert {v.dtype.name for v in inputs.values()} == {"int64"}


def test_ids_to_which_something_is_added_stay_rows_of_their_table():
    model = forms.model(
        [
            node("Add", "ids two", "more"),
            node("Cast", "more", "wide", to=INT64),
            node("Reshape", "wide flat", "f"),
            node("Gather", "table f", "a"),
            node("MatMul", "a w", "y"),
        ],
        [value("ids", [1, 512], TensorProto.INT32)],
        [value("y", None)],
        [
            constant("two", 2, np.int32),
            constant("flat", [-1]),
            weight("table", 9, 8),
            weight("w", 8, 8),
        ],
    )
    assert set(import_model(model).inputs["ids"].ravel()) == set(range(7))


def test_the_same_seed_gives_the_same_inputs_and_another_does_not():
    first, again, other = (import_model(FORMS["masked"], seed=s).inputs for s in (0, 0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert any((first[name] != other[name]).any() for name in first)


def test_inputs_of_a_file_are_taken_and_fix_open_extents(tmp_path):
    path = tmp_path / "inputs.npz"
    ids = np.arange(16).reshape(2, 8)
    names = ("input_ids", "attention_mask", "token_type_ids")
    np.savez(path, **dict.fromkeys(names, ids % 2))
    network = import_model(forms.bert(), inputs=path)
    assert input_shapes(network.model) == dict.fromkeys(names, (2, 8))
    np.testing.assert_array_equal(network.inputs["input_ids"], ids % 2)


def test_a_number_of_a_file_stays_one(tmp_path):
    path = tmp_path / "inputs.npz"
    given = {**import_model(FORMS["masked"]).inputs, "k": np.float32(3.0)}
    np.savez(path, **given)
    found = import_model(FORMS["masked"], inputs=path).inputs
    assert {name: v.shape for name, v in found.items()} == {n: v.shape for n, v in given.items()}


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"z": np.ones((1, 4), np.float32)}, "holds z; the network's inputs are x"),
        ({"x": np.ones((1, 4))}, "x is of float64, the network takes float32"),
        ({"x": np.ones((1, 5), np.float32)}, "x has shape 1x5, the network takes 1x4"),
        (None, "no such file"),
    ],
)
def test_inputs_that_do_not_fit_are_told(tmp_path, arrays, line):
    path = tmp_path / "inputs.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match=line):
        import_model(forms.dense([value("x", [1, 4])]), inputs=path)


# --- tails -------------------------------------------------------------------------------------


def test_a_network_and_its_tail_compute_what_the_whole_does():
    network = import_model(forms.detector())
    assert network.tail is not None
    assert "NonMaxSuppression" not in {n.op_type for n in network.model.graph.node}
    assert "NonMaxSuppression_chosen (NonMaxSuppression) on" in network.remarks[0]
    values = [*run(network.model, network.inputs), *network.inputs.values()]
    names = [taken.name for taken in network.tail.graph.input]
    expected = run(network.original, network.inputs)
    actual = run(network.tail, dict(zip(names, values, strict=True)))
    for e, a in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(e, a)


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def external(tmp_path):
    """A model whose weights lie beside it."""
    path = tmp_path / "model.onnx"
    model = forms.dense([value("x", [1, 4])])
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    return path


def relocated(path, location):
    model = onnx.load(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(model.SerializeToString())


def test_weights_beside_a_model_are_read_and_count_in_its_digest(external):
    assert len(read_model(external).graph.initializer[0].raw_data) == 64
    before = file_digest(external)
    weights = external.with_name("weights")
    changed = bytearray(weights.read_bytes())
    changed[0] ^= 1
    weights.write_bytes(changed)
    assert file_digest(external) != before


@pytest.mark.parametrize("location", ["../weights", "/etc/hostname", "a/../../weights", ""])
def test_weights_out_of_the_models_folder_are_refused(external, location):
    external.parent.with_name("weights").touch()
    relocated(external, location)
    with pytest.raises(ValueError, match=r"outside of the model's folder"):
        read_model(external)


def test_a_link_out_of_the_models_folder_is_refused(external, tmp_path_factory):
    weights = external.with_name("weights")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "weights"
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"outside of the model's folder"):
        read_model(external)


def test_damaged_files_are_told_in_one_line(external):
    path = external.with_name("cut.onnx")
    onnx.save(forms.torch_view(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not an ONNX model, or cut short"):
        read_model(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is not an ONNX model"):
        read_model(path)
    external.with_name("weights").write_bytes(b"short")
    with pytest.raises(ValueError, match="weights beside the model cannot be read"):
        read_model(external)
    external.with_name("weights").unlink()
    with pytest.raises(ValueError, match="lies in weights, which is missing"):
        read_model(external)
