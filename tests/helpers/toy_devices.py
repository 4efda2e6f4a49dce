"""In C: kernels that do what a bad candidate does, and the CUDA that is not here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIBRARIES = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}")
TVM = LIBRARIES / "site-packages" / "tvm" / "lib"
FFI = LIBRARIES / "site-packages" / "tvm_ffi"

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
    "compiled": """static TVMFFIObjectHandle compile;
      static float factor;
      if (!compile) {
        TVMFFIByteArray name = {"tvm_callback_cuda_compile", 25};
        if (TVMFFIFunctionGetGlobal(&name, &compile)) return -1;
      }
      if (factor == 0) {
        TVMFFIAny source = {}, binary = {};
        source.type_index = kTVMFFIRawStr;
        source.v_c_str = "source, übersetzt";
        if (TVMFFIFunctionCall(compile, &source, 1, &binary)) return -1;
        factor = TVMFFIBytesGetByteArrayPtr(binary.v_obj)->data[0] - '0';
      }
      for (int i = 0; i < 64; ++i) y[i] = factor * x[i];""",
    "late": "static int runs; if (++runs > 5) raise(SIGSEGV); usleep(500);",
}
"""What a kernel does; `late` dies after its first timings, `worn` if three are in one process.

`compiled` multiplies by the first digit of what its source is compiled to when it is first called.
"""
SOURCE = "source, übersetzt"
"""What `compiled` has compiled."""

NETWORK = """
#include <dlfcn.h>
#include <tvm/ffi/c_api.h>
extern "C" {
int __tvm_ffi_vm_load_executable(void*, const TVMFFIAny*, int32_t, TVMFFIAny* result) {
  Dl_info own;
  dladdr((void*)__tvm_ffi_vm_load_executable, &own);
  TVMFFIByteArray name = {"ffi.ModuleLoadFromFile", 22};
  TVMFFIObjectHandle load;
  if (TVMFFIFunctionGetGlobal(&name, &load)) return -1;
  TVMFFIAny path = {};
  path.type_index = kTVMFFIRawStr;
  path.v_c_str = own.dli_fname;
  return TVMFFIFunctionCall(load, &path, 1, result);
}
int __tvm_ffi_vm_initialization(void*, const TVMFFIAny*, int32_t, TVMFFIAny*) { return 0; }
int toy_kernel(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);
int __tvm_ffi_main(void*, const TVMFFIAny* args, int32_t, TVMFFIAny* result) {
  if (toy_kernel(0, args, 1, 0)) return -1;
  *result = args[0];
  return TVMFFIObjectIncRef(args[0].v_obj);
}
}
"""
"""A network of one kernel, to be put before it: its input is its output, too."""

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


def network_of(deed: str) -> str:
    """Source of a network of one kernel."""
    return NETWORK + (C_KERNEL % DEEDS[deed]).replace("__tvm_ffi_main", "toy_kernel")


def compile_c(source: str, library: Path, *flags: str) -> Path:
    include = f"-I{FFI / 'include'}"
    command = ["g++", "-x", "c++", "-shared", "-fPIC", "-O1", include, *flags, "-o", library, "-"]
    subprocess.run(command, input=source.encode(), check=True)
    return library
