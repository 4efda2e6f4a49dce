"""The program as one file."""

from __future__ import annotations

from pathlib import Path

from toy_devices import TVM
from visit_folders import by_id, make, pack, run, start, worker_with

from dgtl.device.archive import write_archive


def test_the_file_in_the_folder_needs_neither_dgtl_nor_tvm(tmp_path, deeds):
    folder = make(tmp_path / "visit", pack({"a": deeds("sleep")}))
    write_archive(folder / "device.pyz")
    stubs, runtime = tmp_path / "stubs", tmp_path / "libraries"
    for name in ("tvm", "dgtl"):
        (stubs / name).mkdir(parents=True)
        (stubs / name / "__init__.py").write_text("raise ImportError('not here')")
    runtime.mkdir()
    for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
        (runtime / name).symlink_to(TVM / name)
    program = (folder / "device.pyz",)
    how = {"program": program, "environment": {"PYTHONPATH": str(stubs)}}
    assert "has no libtvm_runtime.so" in run(folder, code=1, **how)[0]
    process = start(folder, "--runtime", runtime, **how)
    maps = Path(f"/proc/{worker_with('/a.so', process).pid}/maps").read_text()
    process.communicate()
    assert process.returncode == 0
    assert "libtvm_runtime_extra.so" in maps
    assert "libtvm_compiler" not in maps
    assert by_id(folder)["a"]["status"] == "ok"
