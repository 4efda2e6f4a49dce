"""Arithmetic limit of the machine's cores: fused multiply-adds that never leave the registers.

    python scripts/bench/peak.py
    python run.py workload=resnet18 hardware.limit_gflops=520       # what it printed

Compiled by the C++ compiler that TVM links kernels with, for this machine. Every thread keeps
twelve independent chains of 512 bits, twice what hides the latency of an addition. The last line
is JSON; no kernel can be faster than the best of the repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

CHAINS, LANES = 12, 16
STEPS = 20_000_000

PROGRAM = f"""
#include <thread>
#include <vector>
typedef float lanes __attribute__((vector_size({4 * LANES})));
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
  std::vector<float> sums(64 * {{threads}});
  std::vector<std::thread> threads;
  for (int i = 0; i < {{threads}}; ++i)
    threads.emplace_back(work, &sums[64 * i], 1.0f / (1 + count));
  for (auto& thread : threads) thread.join();
  float sum = 0;
  for (float part : sums) sum += part;
  return sum == 12345.0f;
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    compiler = next(filter(shutil.which, ("g++", "clang++", "c++")), None)
    if compiler is None:
        raise SystemExit("no C++ compiler found: install g++ or clang++")
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "peak.cc", Path(folder) / "peak"
        source.write_text(PROGRAM.replace("{threads}", str(args.threads)))
        options = ("-O3", "-march=native", "-ffp-contract=fast", "-funroll-loops", "-pthread")
        subprocess.run([compiler, *options, str(source), "-o", str(program)], check=True)
        seconds = []
        for _ in range(args.repeats):
            begin = time.perf_counter()
            subprocess.run([str(program)], check=True)
            seconds.append(time.perf_counter() - begin)
            time.sleep(0.2)
    operations = 2.0 * STEPS * CHAINS * LANES * args.threads
    best, middle = (operations / s / 1e9 for s in (min(seconds), statistics.median(seconds)))
    print(f"{args.threads} threads: best {best:.0f} GFLOPS, median {middle:.0f}")
    print(json.dumps({"threads": args.threads, "limit_gflops": round(best, 1)}))


if __name__ == "__main__":
    main()
