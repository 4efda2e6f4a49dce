"""The runner of a visit folder: whatever is in it, each thing has its result and nothing is lost.

Kernels in C stand in for what a bad candidate does; a driver in C for the CUDA that is not here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from dgtl import device

LIBRARIES = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}")
TVM = LIBRARIES / "site-packages" / "tvm" / "lib"
FFI = LIBRARIES / "site-packages" / "tvm_ffi"
SHAPE = [[[64], "float32"], [[64], "float32"]]
OPTIONS = {
    "repeats": 3,
    "min_repeat_ms": 1.0,
    "run_timeout_s": 1.0,
    "quick_factor": 1e9,
    "cache_flush_mb": 0.01,
}

C_KERNEL = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <tvm/ffi/c_api.h>
extern "C" int __tvm_ffi_main(void*, const TVMFFIAny* args, int32_t n, TVMFFIAny*) {
  float* x = (float*)TVMFFITensorGetDLTensorPtr(args[0].v_obj)->data;
  float* y = (float*)TVMFFITensorGetDLTensorPtr(args[n - 1].v_obj)->data;
  %s
  return 0;
}
"""
DEEDS = {
    "double": "for (int i = 0; i < 64; ++i) y[i] = 2 * x[i];",
    "crash": "raise(SIGSEGV);",
    "hang": "for (;;) pause();",
    "print": """for (int i = 0; i < 30000; ++i) puts("{\\"seconds\\": 1e-9, \\"quick\\": false}");
                fflush(stdout);""",
    "refuse": 'TVMFFIErrorSetRaisedFromCStr("ValueError", "first\\nlast line"); return -1;',
    "sleep": "usleep(50000);",
    "nap": "usleep(2000);",
    "tick": "usleep(100);",
    "worn": "static int runs; if (++runs > 8) raise(SIGSEGV); usleep(2000);",
    "late": "static int runs; if (++runs > 5) raise(SIGSEGV); usleep(500);",
}
"""What a kernel does; `late` dies after its first timings, `worn` if three are in one process."""

DRIVER = """
#include <string.h>
#include <stddef.h>
#include <time.h>
static double times[2];
extern "C" {
int cuInit(unsigned) { return NO_DEVICE ? 100 : 0; }
int cuDeviceGet(int* device, int) { *device = 0; return 0; }
int cuDeviceGetName(char* name, int, int) { strcpy(name, "Toy GPU"); return 0; }
int cuDeviceGetPCIBusId(char* bus, int, int) { strcpy(bus, "0000:01:00.0"); return 0; }
int cuDriverGetVersion(int* version) { *version = 13010; return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int) { *bytes = 5ul << 32; return 0; }
int cuDeviceGetAttribute(int* value, int number, int) {
  *value = number == 75 ? 9 : number == 76 ? 0 : number == 13 ? 1980000 : number;
  return number == 38 ? 1 : 0;
}
int cuGetErrorName(int, const char** text) { *text = "CUDA_ERROR_TOY"; return 0; }
int cuDevicePrimaryCtxRetain(void** context, int) { *context = times; return 0; }
int cuCtxSetCurrent(void* context) { return context == times ? 0 : 201; }
int cuCtxSynchronize() { return 0; }
int cuEventCreate(void** event, unsigned) { static int n; *event = times + n++; return 0; }
int cuEventRecord(void* event, void* stream) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  *(double*)event = now.tv_sec * 1e3 + now.tv_nsec / 1e6;
  return stream ? 400 : 0;
}
int cuEventSynchronize(void*) { return 0; }
int cuEventElapsedTime(float* ms, void* a, void* b) {
  *ms = *(double*)b - *(double*)a;
  return 0;
}
}
"""

NVML = """
#include <string.h>
extern "C" {
int nvmlInit_v2() { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** handle) {
  *handle = handle;
  return strcmp(bus, "0000:01:00.0");
}
int nvmlDeviceGetClockInfo(void*, int kind, unsigned* mhz) { *mhz = 1700 + kind; return 0; }
int nvmlDeviceGetTemperature(void*, int, unsigned* celsius) { *celsius = 55; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, unsigned long long* reasons) {
  *reasons = REASONS;
  return 0;
}
}
"""

# A device of TVM's that is called cuda and lies in the processor's memory.
TOY_RUNTIME = """
#include <tvm/ffi/c_api.h>
__attribute__((constructor)) static void start() {
  TVMFFIByteArray from = {"device_api.cpu", 14}, to = {"device_api.cuda", 15};
  TVMFFIObjectHandle function;
  TVMFFIFunctionGetGlobal(&from, &function);
  TVMFFIFunctionSetGlobal(&to, function, 1);
}
"""


def compile_c(source: str, library: Path, *flags: str) -> Path:
    include = f"-I{FFI / 'include'}"
    command = ["g++", "-x", "c++", "-shared", "-fPIC", "-O1", include, *flags, "-o", library, "-"]
    subprocess.run(command, input=source.encode(), check=True)
    return library


@pytest.fixture(scope="module")
def deeds(tmp_path_factory):
    """A library by deed, compiled when it is first asked for."""
    folder = tmp_path_factory.mktemp("deeds")

    def library(deed: str) -> Path:
        path = folder / f"{deed}.so"
        return path if path.exists() else compile_c(C_KERNEL % DEEDS[deed], path)

    return library


@pytest.fixture(scope="module")
def toy_cuda(tmp_path_factory):
    """Two folders: of a driver and NVML, and of runtime libraries."""
    driver, runtime = tmp_path_factory.mktemp("driver"), tmp_path_factory.mktemp("runtime")
    compile_c(DRIVER, driver / "libcuda.so.1", "-DNO_DEVICE=0")
    compile_c(NVML, driver / "libnvidia-ml.so.1", "-DREASONS=0x21")
    for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
        (runtime / name).symlink_to(TVM / name)
    compile_c(TOY_RUNTIME, runtime / "libtvm_runtime_cuda.so")
    return driver, runtime


def pack(kernels: dict[str, Path], **changes) -> dict:
    """A pack of kernels by id, with their files."""
    return {"kernels": kernels, "tensors": SHAPE, "checks": {}, "best_s": None, **changes}


def make(folder: Path, *packs: dict, networks=(), options=OPTIONS, **manifest) -> Path:
    """A visit folder."""
    (folder / "packs").mkdir(parents=True)
    entries = []
    for number, content in enumerate(packs):
        file, entry = f"packs/{number:03}.tar.xz", {"best_s": content["best_s"], "kernels": []}
        with tarfile.open(folder / file, "w:xz", preset=0) as tar:
            for name, library in content["kernels"].items():
                tar.add(library, f"{name}.so")
                check = None
                if name in content["checks"]:
                    data = io.BytesIO()
                    np.savez(data, **content["checks"][name])
                    member = tarfile.TarInfo(f"{name}.npz")
                    member.size = len(data.getvalue())
                    tar.addfile(member, io.BytesIO(data.getvalue()))
                    check = {"seed": 3, "expected": f"{name}.npz"}
                entry["kernels"].append(
                    {
                        "id": name,
                        "library": f"{name}.so",
                        "tensors": content["tensors"],
                        "check": check,
                    }
                )
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        entries.append({"file": file, "sha256": digest, **entry})
    text = {
        "type": "dgtl-visit",
        "schema": 1,
        "id": "0123abcd",
        "device": "cpu",
        "arch": None,
        "threads": 1,
        "options": options,
        "packs": entries,
        "networks": list(networks),
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(text))
    return folder


def start(folder: Path, *arguments, environment=None, program=("-m", "dgtl.device")):
    command = [sys.executable, *program, folder, *arguments]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def run(folder: Path, *arguments, code: int = 0, **how) -> list[str]:
    """Lines that the program printed: all of stdout, or of stderr if it refused."""
    process = start(folder, *arguments, **how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert (err != "") == (code == 1), err
    return (err if code == 1 else out).splitlines()


def results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def by_id(folder: Path) -> dict[str, dict]:
    """Results by id, each of which is there once."""
    records = [record for record in results(folder) if "id" in record]
    assert len({record["id"] for record in records}) == len(records)
    return {record["id"]: record for record in records}


def expected(factor: float) -> dict:
    """Values of a check of a kernel that multiplies by ``factor``, at some elements."""
    values = factor * np.random.default_rng(3).standard_normal([64], dtype=np.float32)
    index = np.array([0, 5, 63])
    return {"index": index, "value": values[index], "scale": np.abs(values).max()}


def test_every_kernel_is_timed_as_often_as_asked(tmp_path, deeds):
    first = pack({"a": deeds("double"), "b": deeds("nap")})
    folder = make(tmp_path / "visit", first, pack({"c": deeds("nap")}))
    lines = run(folder)
    assert [line.split(":")[0] for line in lines] == ["pack 1/2", "pack 2/2", "all done"]
    assert "2 kernels, 0 failed, best" in lines[0]
    records = by_id(folder)
    assert all(r["status"] == "ok" and len(r["times_s"]) == 3 for r in records.values())
    assert 2e-3 < min(records["b"]["times_s"]) < 20e-3
    assert max(records["a"]["times_s"]) < 2e-3
    assert records["b"]["run_s"] > sum(records["b"]["times_s"])
    facts = results(folder)[0]
    assert facts["type"] == "device"
    assert facts["name"]
    assert facts["processors"] == len(os.sched_getaffinity(0))
    assert results(folder)[-1]["type"] == "done"
    assert {r["visit"] for r in results(folder)} == {"0123abcd"}
    before = results(folder)
    assert "all done" in run(folder)[0]
    assert results(folder) == before


def test_what_a_kernel_does_is_only_its_own_loss(tmp_path, deeds, scratch):
    order = ["double", "crash", "nap", "hang", "print", "refuse", "late", "sleep"]
    options = {**OPTIONS, "run_timeout_s": 0.5}
    folder = make(tmp_path / "visit", pack({d: deeds(d) for d in order}), options=options)
    lines = run(folder)
    assert "8 kernels, 4 failed, best" in lines[0]
    records = by_id(folder)
    assert list(records) == order
    status = {name: record["status"] for name, record in records.items()}
    bad = {"crash": "run_error", "hang": "run_timeout", "refuse": "run_error", "late": "run_error"}
    assert status == {**dict.fromkeys(order, "ok"), **bad}
    assert records["crash"]["error"] == "its process died: SIGSEGV"
    assert records["refuse"]["error"] == "last line"
    assert all((r["times_s"] == []) == (name in bad) for name, r in records.items())
    assert min(records["print"]["times_s"]) > 1e-4
    assert not list(scratch.iterdir())


def test_a_first_run_far_above_the_best_is_not_repeated(tmp_path, deeds):
    kernels = {"slow": deeds("sleep"), "fast": deeds("nap")}
    options = {**OPTIONS, "quick_factor": 5.0}
    folder = make(tmp_path / "visit", pack(kernels, best_s=2e-3), options=options)
    run(folder)
    records = by_id(folder)
    assert [records["slow"]["quick"], len(records["slow"]["times_s"])] == [True, 1]
    assert [records["fast"]["quick"], len(records["fast"]["times_s"])] == [False, 3]


def test_a_check_compares_the_elements_that_it_names(tmp_path, deeds):
    right = deeds("double")
    checks = {"right": expected(2), "wrong": expected(2.01), "nan": expected(2)}
    content = pack({"right": right, "wrong": right, "nan": deeds("nap")}, checks=checks)
    folder = make(tmp_path / "visit", content)
    assert "3 kernels, 2 failed, none timed" in run(folder)[0]
    records = by_id(folder)
    assert [r["type"] for r in records.values()] == ["check"] * 3
    assert records["right"]["status"] == "ok"
    assert records["right"]["relative_error"] < 1e-6
    assert records["wrong"]["status"] == records["nan"]["status"] == "wrong_result"
    index = checks["wrong"]["index"]
    values = np.random.default_rng(3).standard_normal([64], dtype=np.float32)
    error = 0.01 * np.abs(values[index]).max() / (2.01 * np.abs(values).max())
    assert records["wrong"]["relative_error"] == pytest.approx(error, rel=1e-3)
    assert records["nan"]["relative_error"] == np.inf


def slow_folder(path: Path, deeds) -> Path:
    packs = [pack({f"k{i}a": deeds("sleep"), f"k{i}b": deeds("nap")}) for i in range(6)]
    return make(path, *packs, options={**OPTIONS, "repeats": 1})


def wait_for_results(folder: Path, process) -> None:
    end = time.monotonic() + 30
    while '"kernel"' not in ((folder / "results.jsonl").read_text() if folder_has(folder) else ""):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def worker_with(library: str, process) -> psutil.Process:
    """The worker of a run once it has loaded a library."""
    while True:
        assert process.poll() is None, process.communicate()
        for worker in psutil.Process(process.pid).children():
            if library in Path(f"/proc/{worker.pid}/maps").read_text():
                return worker
        time.sleep(0.01)


def folder_has(folder: Path) -> bool:
    return (folder / "results.jsonl").exists()


def test_a_killed_run_goes_on_and_loses_only_the_pack_in_hand(tmp_path, deeds, scratch):
    folder = slow_folder(tmp_path / "visit", deeds)
    process = start(folder)
    wait_for_results(folder, process)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    assert len(workers) == 1
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    before = list(by_id(folder))[:-1]
    assert 0 < len(before) < 12
    lines = (folder / "results.jsonl").read_text().splitlines(keepends=True)[:-1]
    with (folder / "results.jsonl").open("w") as file:
        file.writelines(lines)
        file.write('{"type": "kernel", "visit": "0123abcd", "id": "k5a", "sta')
    run(folder)
    assert list(by_id(folder))[: len(before)] == before
    assert len(by_id(folder)) == 12
    assert [r["type"] for r in results(folder)].count("device") == 2
    assert not list(scratch.iterdir())


def test_a_hanging_kernel_does_not_outlive_a_killed_run(tmp_path, deeds):
    options = {**OPTIONS, "run_timeout_s": 60.0}
    folder = make(tmp_path / "visit", pack({"a": deeds("hang")}), options=options)
    process = start(folder)
    worker = worker_with("/a.so", process)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs([worker], timeout=10)[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly(tmp_path, deeds, scratch, number, code):
    folder = slow_folder(tmp_path / "visit", deeds)
    process = start(folder)
    wait_for_results(folder, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err == ""
    count = len(by_id(folder))
    assert 0 < count < 12
    last = out.splitlines()[-1]
    assert last == f"stopped: {count} of 12 done; the same command goes on"
    assert not list(scratch.iterdir())


def test_seconds_stop_between_packs(tmp_path, deeds):
    folder = slow_folder(tmp_path / "visit", deeds)
    last = run(folder, "--seconds", "0.3", code=3)[-1]
    count = len(by_id(folder))
    assert last == f"time is over: {count} of 12 done; the same command goes on"
    assert count < 12
    assert count % 2 == 0
    assert results(folder)[-1]["type"] != "done"


def test_two_at_once_are_refused(tmp_path, deeds):
    folder = slow_folder(tmp_path / "visit", deeds)
    process = start(folder)
    wait_for_results(folder, process)
    assert "another run" in run(folder, code=1)[0]
    process.terminate()
    process.communicate()


def edited(folder: Path, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def bad_member(folder: Path, member: tarfile.TarInfo) -> None:
    path = folder / "packs/000.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.addfile(member)
    packs = json.loads((folder / "manifest.json").read_text())["packs"]
    packs[0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    edited(folder, packs=packs)


def link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def half_float(folder: Path) -> None:
    packs = json.loads((folder / "manifest.json").read_text())["packs"]
    packs[0]["kernels"][0] |= {
        "tensors": [[[64], "float16"]] * 2,
        "check": {"seed": 0, "expected": "a.npz"},
    }
    edited(folder, packs=packs)


SPOILED = {
    "no manifest.json": lambda f: (f / "manifest.json").unlink(),
    "is not JSON": lambda f: (f / "manifest.json").write_text("{"),
    "another program": lambda f: edited(f, type="toy"),
    "has schema 2": lambda f: edited(f, schema=2),
    "damaged: KeyError('min_repeat_ms')": lambda f: edited(f, options={"repeats": 1}),
    "000.tar.xz is missing": lambda f: (f / "packs/000.tar.xz").unlink(),
    "its hash differs": lambda f: (f / "packs/000.tar.xz").write_bytes(b"x"),
    "do not belong": lambda f: (f / "results.jsonl").write_text('{"visit": "other"}\n'),
    "line 1: not JSON": lambda f: (f / "results.jsonl").write_text("{\n{}\n"),
    "a device 'metal'": lambda f: edited(f, device="metal"),
    "no libtvm_runtime.so": lambda f: (f / "runtime").mkdir(),
    "holds '../a.so'": lambda f: bad_member(f, tarfile.TarInfo("../a.so")),
    "holds 'a.so'": lambda f: bad_member(f, link("a.so")),
    "holds 'b.so'": lambda f: bad_member(f, tarfile.TarInfo("b.so")),
    "an id is there twice": lambda f: edited(
        f, packs=json.loads((f / "manifest.json").read_text())["packs"] * 2
    ),
    "not of float32": half_float,
    "no driver is here": lambda f: edited(f, device="cuda", arch="sm_90"),
}


@pytest.mark.parametrize("message", SPOILED)
def test_bad_input_is_refused_in_one_line(tmp_path, deeds, message):
    folder = make(tmp_path / "visit", pack({"a": deeds("double")}))
    SPOILED[message](folder)
    (line,) = run(folder, code=1, environment={"LD_LIBRARY_PATH": ""})
    assert line.startswith("error: ")
    assert message in line
    if message not in ("do not belong", "line 1: not JSON") and folder_has(folder):
        assert all(record["type"] == "device" for record in results(folder))


def test_the_copy_in_the_folder_needs_neither_dgtl_nor_tvm(tmp_path, deeds):
    folder = make(tmp_path / "visit", pack({"a": deeds("sleep")}))
    shutil.copy(device.__file__, folder)
    stubs, runtime = tmp_path / "stubs", tmp_path / "libraries"
    for name in ("tvm", "dgtl"):
        (stubs / name).mkdir(parents=True)
        (stubs / name / "__init__.py").write_text("raise ImportError('not here')")
    runtime.mkdir()
    for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
        (runtime / name).symlink_to(TVM / name)
    program = (folder / "device.py",)
    how = {"program": program, "environment": {"PYTHONPATH": str(stubs)}}
    assert "has no libtvm_runtime.so" in run(folder, code=1, **how)[0]
    process = start(folder, "--runtime", runtime, **how)
    maps = Path(f"/proc/{worker_with('/a.so', process).pid}/maps").read_text()
    process.communicate()
    assert process.returncode == 0
    assert "libtvm_runtime_extra.so" in maps
    assert "libtvm_compiler" not in maps
    assert by_id(folder)["a"]["status"] == "ok"


def cuda_folder(path: Path, *packs: dict) -> Path:
    return make(path, *packs, device="cuda", arch="sm_90", threads=None)


def test_on_a_toy_driver_events_time_and_an_error_costs_the_worker(tmp_path, deeds, toy_cuda):
    driver, runtime = toy_cuda
    order = ("nap", "worn", "refuse", "sleep", "tick")
    first = pack({name: deeds(name) for name in order})
    second = pack({"right": deeds("double")}, checks={"right": expected(2)})
    folder = cuda_folder(tmp_path / "visit", first, second)
    run(folder, "--runtime", runtime, environment={"LD_LIBRARY_PATH": str(driver)})
    facts = results(folder)[0]
    assert facts["name"] == "Toy GPU"
    assert facts["capability"] == "9.0"
    assert facts["driver"] == "CUDA 13.1"
    assert [facts["clock_mhz"], facts["processors"], facts["l2_bytes"]] == [1980, 16, None]
    assert facts["memory_bytes"] == 5 << 32
    records = by_id(folder)
    assert [r["status"] for r in records.values()] == ["ok", "ok", "run_error", "ok", "ok", "ok"]
    assert 1e-4 < min(records["tick"]["times_s"]) < 1e-3
    assert 2e-3 < min(records["nap"]["times_s"]) < 20e-3
    assert 50e-3 < min(records["sleep"]["times_s"]) < 100e-3
    nap = records["nap"]
    assert [nap["clock_mhz"], nap["temperature_c"], nap["throttled"]] == [1701, 55, True]
    assert records["right"]["relative_error"] < 1e-6


def test_another_architecture_or_no_device_is_refused(tmp_path, deeds, toy_cuda):
    driver, runtime = toy_cuda
    folder = cuda_folder(tmp_path / "visit", pack({"a": deeds("nap")}))
    edited(folder, arch="sm_80")
    environment = {"LD_LIBRARY_PATH": str(driver)}
    (line,) = run(folder, "--runtime", runtime, code=1, environment=environment)
    assert "built for sm_80, and Toy GPU has compute capability 9.0" in line
    compile_c(DRIVER, tmp_path / "libcuda.so.1", "-DNO_DEVICE=1")
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    (line,) = run(folder, "--runtime", runtime, code=1, environment=environment)
    assert "no device is here" in line


@pytest.mark.tvm
def test_kernels_of_tvm_and_a_whole_network(tmp_path, hardware):
    import tvm
    from tvm_layers import LAYERS, schedules, tuned_function

    from dgtl.tvm.deploy import network as deploy
    from dgtl.tvm.measure import workers
    from dgtl.tvm.workload.networks import load
    from dgtl.tvm.workload.tasks import lower

    layer = LAYERS["conv2d"]
    mod_file, library = tmp_path / "mod.json", tmp_path / "kernel.so"
    mod_file.write_text(tvm.ir.save_json(tuned_function(layer).mod))
    space = schedules(layer).space
    (config,) = space.keys(space.sample_distinct(np.random.default_rng(0), 1))
    built = workers.build(str(mod_file), hardware.target, config, str(library))
    timed = pack({"timed": library}, tensors=[[list(s), d] for s, d in built.tensors])

    network = lower(load("tiny", 0), tvm.target.Target(hardware.target))
    file = tmp_path / "visit" / "networks" / "network.so"
    file.parent.mkdir(parents=True)
    deploy.build(network, hardware, file)
    value = np.random.default_rng(0).standard_normal([1, 3, 32, 32], dtype=np.float32)
    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(file)), tvm.cpu())
    output = machine["main"](tvm.runtime.tensor(value)).numpy()
    entry = {
        "file": "networks/network.so",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "repeats": 4,
    }
    networks = [
        {**entry, "id": name, "inputs": f"networks/{name}.npz"} for name in ("right", "wrong")
    ]
    np.savez(file.parent / "right.npz", input_0=value, output_0=output)
    np.savez(file.parent / "wrong.npz", input_0=value, output_0=output * np.float32(1.25))
    threads = hardware.num_cores
    folder = make(tmp_path / "visit", timed, networks=networks, threads=threads)
    run(folder)
    records = by_id(folder)
    assert records["timed"]["status"] == "ok"
    assert 0 < min(records["timed"]["times_s"]) < 0.1
    assert [records["right"]["status"], len(records["right"]["times_s"])] == ["ok", 4]
    assert records["right"]["relative_error"] < 1e-5
    assert records["wrong"]["status"] == "wrong_result"
    assert records["wrong"]["relative_error"] == pytest.approx(0.2, rel=1e-3)
