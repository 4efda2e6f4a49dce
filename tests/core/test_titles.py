"""A layer is called what a person calls it, and no two layers of a list are called the same."""

import dataclasses

import pytest
import toys

from dgtl.autotvm_logs.layers import Conv, Dense, WinogradProduct
from dgtl.core.history import SHIPPED_TABLES, History
from dgtl.core.records import Access, Axis, Task
from dgtl.core.titles import titles

CONV = Conv(1, 64, 64, (56, 56), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 4, False)


def task_of(layer: Conv | Dense | WinogradProduct, key: str = "key") -> Task:
    known = layer.shape_key if isinstance(layer, WinogradProduct) else ""
    axes, accesses = layer.axes, layer.accesses
    return Task(key, "fused", layer.kind, axes, accesses, 1.0, toys.HARDWARE, layer=known)


def conv(**changes) -> Task:
    return task_of(dataclasses.replace(CONV, **changes))


def affine(kind: str, extents: dict[str, int], *buffers: str, constant: bool = True) -> Task:
    """A task from its axes (upper case: summed over) and, per buffer, its indices."""
    names = list(extents)
    axes = tuple(Axis(n, e, "R" if n.isupper() else "S") for n, e in extents.items())

    def row(index: str) -> tuple[int, ...]:
        steps = {term[-1]: int(term[:-1] or 1) for term in index.split("+")}
        return tuple(steps.get(name, 0) for name in names)

    accesses = []
    for i, indices in enumerate(buffers):
        rows = tuple(row(index) for index in indices.split(","))
        last = i == len(buffers) - 1
        accesses.append(Access(f"b{i}", (9,) * len(rows), rows, 4, constant and i == 1, last))
    return Task("key", "fused", kind, axes, tuple(accesses), 1.0, toys.HARDWARE)


@pytest.mark.parametrize(
    ("task", "title"),
    [
        (conv(), "conv 3x3 64->64 56x56 s1"),
        (
            conv(inputs=3, stride=(2, 2), kernel=(7, 7), size=(224, 224), padding=(3,) * 4),
            "conv 7x7 3->64 112x112 s2",
        ),
        (conv(kernel=(1, 1), padding=(0,) * 4), "conv 1x1 64->64 56x56 s1"),
        (conv(kernel=(1, 7), padding=(0, 3, 0, 3)), "conv 1x7 64->64 56x56 s1"),
        (conv(size=(32, 128)), "conv 3x3 64->64 32x128 s1"),
        (conv(stride=(2, 1)), "conv 3x3 64->64 28x56 s2x1"),
        (conv(dilation=(2, 2), padding=(2,) * 4), "conv 3x3 64->64 56x56 s1 d2"),
        (
            conv(kernel=(1, 3), dilation=(2, 2), padding=(0, 2, 0, 2)),
            "conv 1x3 64->64 56x56 s1 d1x2",
        ),
        (conv(batch=8), "conv 3x3 64->64 56x56 s1 batch 8"),
        (conv(size=(3, 3), padding=(0,) * 4), "conv 3x3 64->64 1x1 s1"),
        (
            conv(inputs=512, outputs=512, size=(14, 14), depthwise=True),
            "depthwise 3x3 512 14x14 s1",
        ),
        (conv(depthwise=True, stride=(2, 2), batch=2), "depthwise 3x3 64 28x28 s2 batch 2"),
        (task_of(Dense(1, 1000, 512, 4)), "dense 512->1000"),
        (task_of(Dense(16, 1000, 512, 4)), "dense 512->1000 batch 16"),
        (task_of(WinogradProduct(CONV)), "conv 3x3 64->64 56x56 s1 winograd"),
        (
            task_of(WinogradProduct(dataclasses.replace(CONV, batch=4, stride=(2, 2)))),
            "conv 3x3 64->64 28x28 s2 batch 4 winograd",
        ),
    ],
)
def test_layers_go_by_what_they_compute(task, title):
    assert task.title == title


@pytest.mark.parametrize(
    ("task", "title"),
    [
        # However its kind is called: by shapes alone, a 4-D product looks like a convolution.
        (
            affine("conv2d", {"b": 1, "h": 12, "i": 128, "j": 128, "K": 64},
                   "b,h,i,K", "b,h,j,K", "b,h,i,j", constant=False),
            "matmul 128x128x64 batch 12",
        ),
        (affine("dense", {"i": 128, "j": 96, "K": 64}, "i,K", "K,j", "i,j", constant=False),
         "matmul 128x96x64"),
        (affine("dense", {"b": 2, "i": 64, "j": 768, "K": 512}, "b,i,K", "K,j", "b,i,j"),
         "dense 512->768 batch 128"),
        (affine("dense", {"n": 1, "x": 100, "f": 32, "X": 3, "C": 16},
                "n,2x+X,C", "X,C,f", "n,x,f"),
         "conv1d 3 16->32 100 s2"),
        (affine("conv2d", {"n": 1, "f": 8, "z": 4, "y": 9, "x": 12, "C": 2, "Z": 3, "Y": 3, "X": 3},
                "n,C,z+Z,y+Y,x+X", "f,C,Z,Y,X", "n,f,z,y,x"),
         "conv3d 3x3x3 2->8 4x9x12 s1"),
        (affine("conv2d", {"n": 1, "g": 4, "f": 8, "y": 7, "x": 7, "C": 2, "Y": 3, "X": 3},
                "n,g,C,y+Y,x+X", "g,f,C,Y,X", "n,g,f,y,x"),
         "conv 3x3 8->32 7x7 s1 groups 4"),
    ],
)  # fmt: skip
def test_other_layers_get_a_title_that_makes_sense(task, title):
    assert task.title == title


def test_what_has_no_such_name_goes_by_its_shape_key():
    task = dataclasses.replace(toys.dense(), accesses=toys.dense().accesses[:2])
    assert task.title == task.shape_key
    assert dataclasses.replace(task, layer="pool_3x3").title == "pool_3x3"


def test_tasks_of_one_title_are_numbered_by_their_keys_however_the_list_is_sorted():
    first, second = (dataclasses.replace(toys.dense(), key=key) for key in ("a", "b"))
    assert titles([first]) == ["dense 8->16 batch 4"]
    assert titles([first, second]) == ["dense 8->16 batch 4 #1", "dense 8->16 batch 4 #2"]
    assert titles([second, first]) == titles([first, second])[::-1]


def test_tasks_that_differ_in_cores_say_so():
    one = dataclasses.replace(toys.HARDWARE, num_cores=1)
    tasks = [toys.dense(), toys.dense(hardware=one), toys.dense(1)]
    assert titles(tasks) == [
        "dense 8->16 batch 4, 4 cores",
        "dense 8->16 batch 4, 1 core",
        "dense 8->16",
    ]


@pytest.mark.slow
def test_all_shipped_layers_have_short_titles_of_their_own():
    tasks = [source.task for source in History.read(SHIPPED_TABLES)]
    for name in {task.hardware.name for task in tasks}:
        found = titles([task for task in tasks if task.hardware.name == name])
        assert len(set(found)) == len(found)
        assert all(title.startswith(("conv ", "depthwise ", "dense ")) for title in found)
        assert max(map(len, found)) <= 40
