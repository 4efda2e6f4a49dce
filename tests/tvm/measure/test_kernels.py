"""Builds of a search are those of TVM: the same machine code, linked without the driver."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.ir.instrument import pass_instrument
from tvm_layers import LAYERS, schedules

from dgtl.tvm.measure import kernels

pytestmark = pytest.mark.tvm


def code(module: tvm.runtime.Module, folder) -> bytes:
    """The machine code of a module."""
    files = str(folder / "kernel.o"), str(folder / "code")
    module.write_to_file(files[0])
    subprocess.run(["objcopy", "-O", "binary", "--only-section=.text", *files], check=True)
    return (folder / "code").read_bytes()


@pytest.mark.parametrize("name", LAYERS)
def test_the_machine_code_is_that_of_all_passes(name, tmp_path):
    space = schedules(LAYERS[name])
    for config in space.space.sample_distinct(np.random.default_rng(0), 4):
        mod = space.schedule(config).mod
        ours = code(kernels.compiled(mod, space.target), tmp_path)
        assert len(ours) > 1000
        assert ours == code(tvm.tirx.build(mod, target=space.target), tmp_path)


def test_what_is_left_out_are_passes_of_tvm():
    """A name that TVM does not know leaves out nothing."""

    @pass_instrument
    class Seen:
        def __init__(self):
            self.names = set()

        def run_before_pass(self, mod, info):
            self.names.add(str(info.name))

    seen, space = Seen(), schedules(LAYERS["dense"])
    with tvm.transform.PassContext(instruments=[seen]):
        tvm.tirx.build(space.default().mod, target=space.target)
    assert seen.names >= set(kernels.IDLE)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_kernel_finds_what_it_calls(dtype, tmp_path):
    """Mathematics, and the arithmetic of half-precision numbers that a plain processor lacks."""
    x = te.placeholder((8,), dtype, name="x")
    y = te.compute((8,), lambda i: te.exp(x[i]) + x[i], name="y")
    target = tvm.target.Target({"kind": "llvm", "mcpu": "generic"})
    mod = tvm.IRModule({"main": te.create_prim_func([x, y]).with_attr("global_symbol", "main")})
    library = str(tmp_path / "kernel.so")
    assert kernels.export(kernels.compiled(mod, target), target, library) == {}
    values = np.linspace(-1, 1, 8).astype(dtype)
    result = tvm.runtime.tensor(np.zeros(8, dtype))
    tvm.runtime.load_module(library)["main"](tvm.runtime.tensor(values), result)
    assert result.numpy() == pytest.approx(np.exp(values) + values, rel=1e-2)


def test_a_failing_linker_says_why(tmp_path):
    broken = tmp_path / "broken.o"
    broken.write_text("no object")
    with pytest.raises(RuntimeError, match=r"failed: .*broken\.o"):
        kernels.link(str(tmp_path / "a.so"), [str(broken)])
