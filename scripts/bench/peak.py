"""Arithmetic limit of the machine's cores: fused multiply-adds that never leave the registers.

    python scripts/bench/peak.py
    python run.py workload=resnet18 hardware.limit_gflops=LIMIT     # what it printed

Compiled by the C++ compiler that TVM links kernels with, for this machine. Every thread keeps
twelve independent chains, more than what hides the latency of an addition, of as many lanes as turn
out to be fastest. The last line is JSON: the best of all repeats.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from pathlib import Path

from dgtl.core.cores import available_cores
from dgtl.tvm.toolchain import require_toolchain

CHAINS, STEPS = 12, 20_000_000
LANES = (4, 8, 16)

PROGRAM = f"""
#include <thread>
#include <vector>
typedef float lanes __attribute__((vector_size(4 * LANES)));
static void work(float* out, float scale) {{
  lanes x[{CHAINS}], a = {{}}, b = {{}};
  a += scale;
  b += 1.0f - scale;
  for (auto& chain : x) chain = b;
  for (long step = 0; step < {STEPS}; ++step)
    for (auto& chain : x) chain = chain * a + b;
  for (auto& chain : x) *out += chain[0];
}}
int main(int count, char**) {{
  std::vector<float> sums(64 * THREADS);
  std::vector<std::thread> threads;
  for (int i = 0; i < THREADS; ++i)
    threads.emplace_back(work, &sums[64 * i], 1.0f / (1 + count));
  for (auto& thread : threads) thread.join();
  float sum = 0;
  for (float part : sums) sum += part;
  return sum == 12345.0f;
}}
"""


def rate(compiler: str, lanes: int, threads: int, repeats: int) -> float:
    """Best of the repeats [GFLOPS] with so many lanes to a vector."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "peak.cc", Path(folder) / "peak"
        source.write_text(PROGRAM)
        options = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffp-contract=fast"]
        options += ["-pthread", f"-DLANES={lanes}", f"-DTHREADS={threads}"]
        if platform.machine() != "x86_64":
            options.remove("-mprefer-vector-width=512")
        subprocess.run([compiler, *options, str(source), "-o", str(program)], check=True)
        seconds = []
        for _ in range(repeats):
            begin = time.perf_counter()
            subprocess.run([str(program)], check=True)
            seconds.append(time.perf_counter() - begin)
    return 2.0 * STEPS * CHAINS * lanes * threads / min(seconds) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    try:
        compiler = require_toolchain()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    rates = {lanes: rate(compiler, lanes, args.threads, args.repeats) for lanes in LANES}
    for lanes, gflops in rates.items():
        print(f"{args.threads} threads, vectors of {lanes:2}: {gflops:6.0f} GFLOPS")
    print(json.dumps({"threads": args.threads, "limit_gflops": round(max(rates.values()), 1)}))


if __name__ == "__main__":
    main()
