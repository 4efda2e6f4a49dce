"""Times what a visit folder holds, on the machine that has the device.

Kernels are built where TVM's compiler is and timed where the device is: a folder travels, with
this package in it as one file, which `archive.write_archive` makes. So nothing here imports what
is outside of this package, nor the package `tvm`, which loads the compiler: the standard library,
numpy, `tvm_ffi` and TVM's runtime libraries are enough.

    python -m dgtl.device FOLDER          or          python FOLDER/device.pyz FOLDER

It reads ``manifest.json`` (schema 1), appends to ``results.jsonl``, and goes on where it was
stopped. One worker process runs the kernels; whatever a kernel does to it is that kernel's result.
Exit codes: 0 everything has a result, 1 refused, 3 `--seconds` are over, 130 or 143 stopped.
"""
