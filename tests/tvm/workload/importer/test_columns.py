"""Columns put back into an image, against ONNX's own reference.

ONNX Runtime 1.32 computes those of one dimension with dilations wrong, from the second channel on.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from onnx_models import constant, model, node, value

from dgtl.tvm.deploy.reference import run
from dgtl.tvm.workload.importer.columns import written_out


@st.composite
def windows(draw):
    """Batch, channels, image, block, and the attributes of a window."""
    n = draw(st.integers(1, 2))
    block = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    apart = draw(st.booleans())
    strides = block if apart else draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    dilations = [1] * n if apart else draw(st.lists(st.integers(1, 2), min_size=n, max_size=n))
    pads = (
        [0] * 2 * n if apart else draw(st.lists(st.integers(0, 1), min_size=2 * n, max_size=2 * n))
    )
    image = [
        d * (b - 1) + 1 + draw(st.integers(0, 5)) for b, d in zip(block, dilations, strict=True)
    ]
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return batch, channels, image, block, {"strides": strides, "dilations": dilations, "pads": pads}


@settings(max_examples=60)
@given(windows())
def test_an_image_is_that_of_the_reference(window):
    batch, channels, image, block, attributes = window
    n = len(image)
    places = math.prod(
        (
            image[i]
            + attributes["pads"][i]
            + attributes["pads"][n + i]
            - attributes["dilations"][i] * (block[i] - 1)
            - 1
        )
        // attributes["strides"][i]
        + 1
        for i in range(n)
    )
    shape = [batch, channels * math.prod(block), places]
    given_ = model(
        [node("Col2Im", "x image block", "y", **attributes)],
        [value("x", shape)],
        [value("y", [batch, channels, *image])],
        [constant("image", image), constant("block", block)],
        opset=18,
    )
    written = written_out(given_)
    assert all(each.op_type != "Col2Im" for each in written.graph.node)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,), (actual,) = ReferenceEvaluator(given_).run(None, {"x": x}), run(written, {"x": x})
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
