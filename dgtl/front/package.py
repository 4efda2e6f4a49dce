"""What `dgtl tune` leaves in its folder beside the run's own files: README.md, example.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dgtl.results.card import CARD, Card

if TYPE_CHECKING:
    from pathlib import Path

    from dgtl.results.card import Value

FILES = (
    "model.so",
    "best",
    "tail.onnx",
    CARD,
    "README.md",
    "example.cpp",
    "report.html",
    "summary.json",
)
"""What `dgtl.Tuned.save` copies, as far as it is there."""

OURS = ("run.json", CARD)
"""A folder that holds one of these was made by dgtl."""

C_TYPES = {
    "float32": ("float", "1.0f"),
    "float64": ("double", "1.0"),
    "float16": ("uint16_t", "0x3c00"),
    "bool": ("uint8_t", "1"),
    **{f"{u}int{n}": (f"{u}int{n}_t", "1") for u in ("", "u") for n in (8, 16, 32, 64)},
}
"""Of each NumPy type the C++ type of the same size, and a one in it."""

EXAMPLE = """\
// Runs model.so once on ones, and prints the first values of its first output.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

using namespace tvm::ffi;

struct Memory {{  // aligned as TVM wants it
  void AllocData(DLTensor* t) {{ t->data = aligned_alloc(64, (GetDataSize(*t) + 63) / 64 * 64); }}
  void FreeData(DLTensor* t) {{ free(t->data); }}
}};

int main() {{
  setenv("TVM_NUM_THREADS", "{num_cores}", 0);
  Module library = Module::LoadFromFile("./model.so");
  Module vm = library->GetFunction("vm_load_executable").value()().cast<Module>();
  vm->GetFunction("vm_initialization").value()(int(kDLCPU), 0, 2);  // 2: memory is used again
{inputs}
  Any result = vm->GetFunction("main").value()({arguments});
  Tensor y = result.as<Tensor>() ? result.cast<Tensor>() : result.cast<Array<Tensor>>()[0];
  const {c_type}* values = static_cast<const {c_type}*>(y.data_ptr());
  for (int64_t i = 0; i < std::min<int64_t>(y.numel(), 8); ++i) printf("%g\\n", double(values[i]));
}}
"""

COMPILE = """\
FFI=$(python -c "from tvm_ffi.libinfo import find_include_path as f; print(f())")
LIB=$(python -c "import tvm.libinfo as t, tvm_ffi.libinfo as f, os.path as p; \\
    print(p.dirname(t.find_libtvm_runtime()), p.dirname(f.find_libtvm_ffi()))")
set -- $LIB
g++ -std=c++17 -O2 example.cpp -o example -I$FFI -L$1 -L$2 -Wl,-rpath,$1:$2 \\
    -Wl,--no-as-needed -ltvm_runtime -ltvm_ffi
./example"""

README = """\
# A tuned network

Built by dgtl {dgtl} on {date} for {hardware}, {num_cores} threads.

    {command}

| | |
|---|---|
| latency | {latency_ms:.3f} ms{speedup} |
| search | {search_s:.0f} s, {trials} trials |
| error against ONNX Runtime | {error} |
| needs | TVM {tvm}, tvm_ffi {tvm_ffi}; a processor with {features} |

## Inputs and outputs

{values}

## Python

    import dgtl

    network = dgtl.load(".")
    y = network({example_inputs})

## C++

`example.cpp` needs the headers and libraries of the Python packages `apache-tvm` and
`apache-tvm-ffi` only, and `libtvm_runtime.so`, `libtvm_ffi.so` and `model.so` where it runs:

{compile}

## Files

| file | what it is |
|---|---|
| `model.so` | the network with its weights |
{tail}| `card.json` | this page, for programs |
| `best/` | the schedules, a MetaSchedule database: stock TVM applies it |
| `example.cpp` | the call from C++ |
"""

TAIL = (
    "| `tail.onnx` | what comes after `model.so`, run by ONNX Runtime: `dgtl.load` does both, "
    "`example.cpp` the first alone |\n"
)


def check_free(folder: Path) -> None:
    """Whether a folder is absent, empty, or an earlier one of dgtl.

    Raises:
        ValueError: it holds something else, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / f).exists() for f in OURS):
        raise ValueError(f"{folder} holds other files: name a folder that is empty or absent")


def write(folder: Path) -> None:
    """Writes README.md and example.cpp beside ``card.json``."""
    card = Card.read(folder)
    (folder / "README.md").write_text(
        readme(card, tail=(folder / "tail.onnx").exists()), encoding="utf-8"
    )
    (folder / "example.cpp").write_text(example(card), encoding="utf-8")


def readme(card: Card, *, tail: bool) -> str:
    """The page of a tuned network."""
    speedup = ""
    if card.untuned_latency_ms is not None:
        ratio = card.untuned_latency_ms / card.latency_ms
        speedup = f"; untuned {card.untuned_latency_ms:.3f} ms, {ratio:.1f} times as long"
    error = "not known: ONNX Runtime does not run the network"
    if card.relative_error is not None:
        error = f"{card.relative_error:.1g}, relative"
    lines = [f"- input `{value}`" for value in card.inputs]
    lines += [f"- output of `model.so` `{value}`" for value in card.outputs]
    if tail:
        lines += [f"- result `{name}`" for name in card.results]
    return README.format(
        dgtl=card.versions["dgtl"],
        tvm=card.versions["tvm"],
        tvm_ffi=card.versions["tvm_ffi"],
        date=card.date,
        hardware=card.hardware,
        num_cores=card.num_cores,
        command=card.command,
        latency_ms=card.latency_ms,
        speedup=speedup,
        search_s=card.search_s,
        trials=card.trials,
        error=error,
        features=", ".join(card.cpu_features) or "nothing special",
        values="\n".join(lines),
        example_inputs=", ".join(f"x{i}" for i in range(len(card.inputs))) or "",
        compile="\n".join(f"    {line}" for line in COMPILE.splitlines()),
        tail=TAIL if tail else "",
    )


def example(card: Card) -> str:
    """The call from C++."""
    inputs = [line for i, value in enumerate(card.inputs) for line in _input_lines(i, value)]
    return EXAMPLE.format(
        num_cores=card.num_cores,
        inputs="\n".join(f"  {line}" for line in inputs),
        arguments=", ".join(f"x{i}" for i in range(len(card.inputs))),
        c_type=C_TYPES[card.outputs[0].dtype][0],
    )


def _input_lines(number: int, value: Value) -> list[str]:
    c_type, one = C_TYPES[value.dtype]
    shape = ", ".join(map(str, value.shape))
    return [
        f"Tensor x{number} = Tensor::FromNDAlloc(  // {value.name!r}",
        f'    Memory(), {{{shape}}}, StringToDLDataType("{value.dtype}"), {{kDLCPU, 0}});',
        f"std::fill_n(static_cast<{c_type}*>(x{number}.data_ptr()), x{number}.numel(), "
        f"{c_type}({one}));",
    ]
