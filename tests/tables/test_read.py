"""Tables are read once per configuration, and a fold never learns from what it leaves out."""

import collections
import dataclasses
import functools
import json
from pathlib import Path

import pytest
import toys

from dgtl.core.history import SHIPPED, SHIPPED_TABLES, History, SourceTask, TrialLog
from dgtl.core.records import Hardware, Task
from dgtl.tables.folds import layer_folds, network_folds
from dgtl.tables.networks import NETWORKS, OTHER, networks_of
from dgtl.tables.read import BENCH, Tables, read_tables
from dgtl.tables.select import choose

SHARED = Path(__file__).parents[3] / "shared" / "data" / "autotvm" / "GTX1650"


def layer(shape: tuple[int, int, int, int, int]) -> SourceTask:
    """A table of three rows for a convolution as `dgtl.tables.networks.NETWORKS` writes it."""
    inputs, outputs, kernel, stride, size = shape
    task = toys.conv2d(size, inputs, outputs, kernel, stride)
    space = toys.space_of(toys.dense())
    rows = ((0, 1), (1, None), (2, 3))
    trials = tuple(toys.trial(task, f"{i}.0.0.0.0", ms and ms / 1e3) for i, ms in rows)
    return SourceTask(task, space, trials)


TABLES = [layer(shape) for shape in sorted(set().union(*NETWORKS.values()))]
UNKNOWN = layer((5, 7, 3, 1, 9))


def write(path: Path, *sources: SourceTask) -> str:
    with TrialLog(path) as log:
        for source in sources:
            log.task(source.task, source.space)
            for trial in source.trials:
                log.trial(trial)
    return str(path)


def read_of(tables, small=()) -> Tables:
    return Tables(tuple(tables), tuple(small), (), ())


history = functools.cache(History.read)
"""What comes with the program, by its folders: reading it takes seconds."""


@functools.cache
def large_tables(hardware: str | None) -> Tables:
    """Those that come with the program, of one hardware, with 2000 rows or more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "read", history)
        return read_tables(None, hardware, min_rows=2000)


def shapes(tables) -> set[str]:
    return {table.task.shape_key for table in tables}


def test_first_trial_of_a_configuration_counts_in_the_order_of_configurations(tmp_path):
    source = layer((5, 7, 3, 1, 9))
    first, second, third = source.trials
    again = third.replace(run_times_s=(9.0,))
    logged = dataclasses.replace(source, trials=(third, first, again, second))
    (table,) = read_tables([write(tmp_path / "a.jsonl", logged)]).tables
    assert [trial.config for trial in table.trials] == [t.config for t in source.trials]
    assert table.trials[2].run_times_s == third.run_times_s


def test_records_without_wall_clock_cost_their_build_and_run(tmp_path):
    source = layer((5, 7, 3, 1, 9))
    old = source.trials[0].replace(wall_s=0.0, build_s=2.0, run_s=1.0)
    logged = dataclasses.replace(source, trials=(old, *source.trials[1:]))
    (table,) = read_tables([write(tmp_path / "a.jsonl", logged)]).tables
    assert [trial.search_s for trial in table.trials] == [3.0, 0.2, 0.2]


def test_one_task_of_several_files_is_one_table(tmp_path):
    first = dataclasses.replace(UNKNOWN, trials=UNKNOWN.trials[:2])
    second = dataclasses.replace(UNKNOWN, trials=UNKNOWN.trials[1:])
    for name, source in (("a", first), ("b", second)):
        write(tmp_path / name / "trials.jsonl", source)
    read = read_tables([str(tmp_path / "a"), str(tmp_path / "b" / "trials.jsonl")], min_rows=3)
    assert [[t.config for t in table.trials] for table in read.tables] == [
        [trial.config for trial in UNKNOWN.trials]
    ]


def test_small_tables_are_only_learnt_from_and_those_where_nothing_ran_not_even_that(tmp_path):
    path = write(
        tmp_path / "a.jsonl",
        UNKNOWN,
        (small := dataclasses.replace(TABLES[0], trials=TABLES[0].trials[:2])),
        (failed := dataclasses.replace(TABLES[1], trials=TABLES[1].trials[1:2])),
    )
    read = read_tables([path])
    assert shapes(read.tables) == shapes([UNKNOWN, small])
    assert read.small == ()
    assert read.skipped == (failed.task.key,)
    read = read_tables([path], min_rows=3)
    assert shapes(read.tables) == shapes([UNKNOWN])
    assert shapes(read.small) == shapes([small])
    with pytest.raises(ValueError, match="no table of any hardware with 4 configurations"):
        read_tables([path], min_rows=4)


def test_one_hardware_at_a_time(tmp_path):
    gpu = Hardware("toy-gpu", '{"kind": "cuda"}', 8)
    task = dataclasses.replace(UNKNOWN.task, hardware=gpu, key="other")
    trials = tuple(trial.replace(task="other") for trial in UNKNOWN.trials)
    path = write(tmp_path / "a.jsonl", UNKNOWN, SourceTask(task, UNKNOWN.space, trials))
    with pytest.raises(ValueError, match=r"hardware.name=toy-cpu\|toy-gpu"):
        read_tables([path])
    assert [t.task.key for t in read_tables([path], "toy-gpu").tables] == ["other"]
    with pytest.raises(ValueError, match="hardware there: toy-cpu, toy-gpu"):
        read_tables([path], "abacus")


def test_autotvm_logs_are_tables_too(tmp_path):
    args = [["TENSOR", [1, 4, 8, 8], "float32"], ["TENSOR", [4, 4, 1, 1], "float32"]]
    args += [[1, 1], [0, 0, 0, 0], [1, 1], "float32"]
    tiles = [["tile_f", "sp", [-1, 1, 4, 1]], ["tile_y", "sp", [-1, 1, 1, 1]]]
    tiles += [["tile_x", "sp", [-1, 1, 8, 1]], ["tile_rc", "sp", [-1, 1]]]
    tiles += [["tile_ry", "sp", [-1, 1]], ["tile_rx", "sp", [-1, 1]]]
    tiles += [["auto_unroll_max_step", "ot", 0], ["unroll_explicit", "ot", 0]]
    record = {
        "input": ["cuda -arch=sm_75", "conv2d_nchw.cuda", args, {}],
        "config": {"index": 0, "code_hash": None, "entity": tiles},
        "result": [[1e-4], 0, 2.5, 1.6e9],
        "version": 0.2,
        "tvm_version": "0.10.0",
    }
    folder = tmp_path / "GPU 1"
    folder.mkdir()
    (folder / "random.log").write_text(json.dumps(record) + "\n")
    (table,) = read_tables([str(folder)]).tables
    assert table.task.hardware.name == "gpu-1"
    assert table.trials[0].search_s == 2.5


@pytest.mark.parametrize("n", [2, 4, None])
def test_layer_folds_never_learn_from_their_own_shapes(n):
    twin = dataclasses.replace(TABLES[0], task=dataclasses.replace(TABLES[0].task, key="twin"))
    tables = [*TABLES, twin]
    folds = layer_folds(read_of(tables), tables, n)
    assert len(folds) == (n or len(TABLES))
    assert sorted(t.task.key for f in folds for t in f.targets) == sorted(
        t.task.key for t in tables
    )
    for fold in folds:
        assert shapes(fold.targets).isdisjoint(shapes(fold.sources))
        assert len(fold.targets) + len(fold.sources) == len(tables)


def test_folds_are_the_same_whichever_tables_are_searched():
    read = read_of(TABLES)
    (alone,) = layer_folds(read, TABLES[3:4], 4)
    (same,) = [fold for fold in layer_folds(read, TABLES, 4) if TABLES[3] in fold.targets]
    assert alone.sources == same.sources
    assert alone.targets == (TABLES[3],)


def test_small_tables_teach_every_fold_but_those_of_their_own_layer():
    tables, small = TABLES[:4], TABLES[4:6]
    one_core = dataclasses.replace(tables[0], task=dataclasses.replace(tables[0].task, key="1"))
    folds = layer_folds(read_of(tables, [*small, one_core]), tables, 2)
    assert sum(len(fold.targets) for fold in folds) == len(tables)
    for fold in folds:
        assert all(table in fold.sources for table in small)
        assert (one_core in fold.sources) == (tables[0] not in fold.targets)
    (alone,) = layer_folds(read_of(tables, small), tables, 1)
    assert alone.sources == tuple(small)


def test_small_tables_teach_every_network_but_their_own():
    vgg = next(t for t in TABLES if networks_of(t.task) == {"vgg16"})
    tables = [t for t in TABLES if t is not vgg]
    for fold in network_folds(read_of(tables, [vgg]), tables):
        assert (vgg in fold.sources) == (fold.name != "vgg16")
        assert vgg not in fold.targets


def test_network_folds_learn_from_no_layer_of_the_network():
    tables = [*TABLES, UNKNOWN]
    folds = network_folds(read_of(tables), tables)
    assert [fold.name for fold in folds] == [*NETWORKS, OTHER]
    assert sum(len(fold.targets) for fold in folds) == len(tables)
    for fold in folds:
        assert all(fold.name not in networks_of(t.task) for t in fold.sources)
        assert all(fold.name in networks_of(t.task) for t in fold.targets)
    (resnet50,) = network_folds(read_of(tables), tables, ["resnet50"])
    assert len(resnet50.targets) == 20


def test_tables_are_chosen_by_key_and_by_network():
    tables = [*TABLES, UNKNOWN]
    assert choose(tables) == tables
    assert len(choose(tables, networks=["vgg16", "mobilenet_v1"])) == 19
    assert choose(tables, ["x9x9x7x"]) == [UNKNOWN]
    assert choose(tables, ["x9x9x7x"], [OTHER]) == [UNKNOWN]
    with pytest.raises(ValueError, match="no table is left"):
        choose(tables, ["x9x9x7x"], ["vgg16"])
    with pytest.raises(ValueError, match="lenet not known"):
        choose(tables, networks=["lenet"])
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        choose(tables, ["("])


def test_folds_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(ValueError, match="nothing to learn"):
        layer_folds(read_of(TABLES), TABLES, 1)
    with pytest.raises(ValueError, match="nothing to learn"):
        layer_folds(read_of(TABLES[:1]), TABLES[:1], None)
    with pytest.raises(ValueError, match=r"workload.folds=0: at least 1"):
        layer_folds(read_of(TABLES), TABLES, 0)
    with pytest.raises(ValueError, match="all tables are of other"):
        network_folds(read_of([UNKNOWN]), [UNKNOWN])


def kernel_and_stride(task: Task) -> tuple[str, tuple[int, ...], bool]:
    """What sorts of layers are told apart by: kind, extents of the window, step."""
    window = [axis.extent for axis in task.axes if axis.name in ("ry", "rx", "di", "dj")]
    return task.kind, tuple(window), "*" in task.shape_key


@pytest.mark.slow
def test_shipped_tables_hold_many_layers_of_all_kinds_and_a_uniform_sample_of_each():
    recorded = list(history(SHIPPED_TABLES))
    assert len(recorded) >= 12
    for source in recorded:
        counts = collections.Counter(trial.stage for trial in source.trials)
        assert len({trial.config for trial in source.trials}) >= 2000, source.task.key
        assert counts["uniform"] >= 1000, source.task.key
        assert all(min(t.build_s, t.run_s, t.wall_s) > 0 for t in source.ok_trials)
    assert {source.task.kind for source in recorded} == {"conv2d", "depthwise_conv2d", "dense"}
    assert len({kernel_and_stride(source.task) for source in recorded}) >= 6
    assert sum(path.stat().st_size for path in SHIPPED_TABLES.iterdir()) <= 2_000_000


@pytest.mark.slow
def test_shipped_tables_are_of_no_layer_that_the_shipped_history_teaches():
    tables, taught = shapes(history(SHIPPED_TABLES)), shapes(history(SHIPPED))
    assert tables.isdisjoint(taught)
    read = large_tables(None)
    assert shapes(read.tables) == tables
    of_bench = [s for s in history(SHIPPED) if s.task.hardware.name == BENCH]
    assert shapes(read.small) == shapes(of_bench)


@pytest.mark.slow
def test_of_the_shipped_tables_those_of_one_hardware_are_searched_whichever_is_named():
    names = {source.task.hardware.name for source in history(SHIPPED_TABLES)}
    assert BENCH in names
    for name in names:
        read = large_tables(name)
        assert len(read.tables) >= 12
        assert {t.task.hardware.name for t in (*read.tables, *read.small)} == {name}
    assert {t.task.hardware.name for t in large_tables(None).tables} == {BENCH}


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the GTX 1650 logs are not in the project")
def test_gtx_1650_logs_hold_four_networks_and_inception():
    read = read_tables([str(SHARED)], min_rows=500)
    assert len(read.tables) == 88
    assert sum(len(table.trials) for table in read.tables) == 117_712
    folds = {fold.name: len(fold.targets) for fold in network_folds(read, read.tables)}
    assert folds == {"resnet18": 12, "vgg16": 9, "mobilenet_v1": 10, "resnet50": 14, OTHER: 43}
