"""Building of candidates in warm processes, on all cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import tvm

from dgtl.core.cores import available_cores
from dgtl.core.records import Status, Trial
from dgtl.tvm.measure import pools, workers
from dgtl.tvm.measure.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from dgtl.core.records import Hardware, Task


class Builders:
    """Warm processes that build, and the folder that they build in; `close` ends both.

    Args:
        hardware: what is built for.
        functions: the fused function of each task, by task key.
        timeout_s: after which a build is ended.

    Attributes:
        folder: of the libraries.
        files: of the functions, by task key, as workers read them.
    """

    def __init__(
        self, hardware: Hardware, functions: Mapping[str, tvm.ir.IRModule], timeout_s: float
    ):
        self._scratch = Scratch()
        self.folder = self._scratch.folder
        self.files: dict[str, str] = {}
        for number, (key, mod) in enumerate(functions.items()):
            path = self.folder / f"{number}.json"
            path.write_text(tvm.ir.save_json(mod))
            self.files[key] = str(path)
        self._target = hardware.target
        self._timeout_s = timeout_s
        self._count = 0
        self._pool = pools.start(available_cores(), timeout_s, hardware.num_cores, str(self.folder))

    def start(self) -> None:
        """Waits until all processes have started, which the first builds would wait for."""
        for future in [self._pool.submit(os.getpid) for _ in range(available_cores())]:
            future.result()

    def close(self) -> None:
        """Ends the processes and removes every file that was built."""
        pools.end(self._pool)
        self._scratch.close()

    def build(self, task: Task, configs: Sequence[str]) -> list[workers.Built | Trial]:
        """What became of each configuration: a library, or the trial that failed."""
        return self._all(task, configs, lambda library: (workers.build, library))

    def build_checks(self, task: Task, configs: Sequence[str]) -> list[workers.Built | Trial]:
        """As `build`, for `workers.build_check`: the expected values lie beside each library."""
        return self._all(
            task,
            configs,
            lambda library: (workers.build_check, library, f"{library}.npz"),
        )

    def _all(
        self, task: Task, configs: Sequence[str], call: Callable[[str], tuple]
    ) -> list[workers.Built | Trial]:
        futures = [self._submit(task, config, call) for config in configs]
        try:
            return [
                self.result(task, config, future)
                for config, future in zip(configs, futures, strict=True)
            ]
        finally:
            for future in futures:  # those that an interruption leaves
                future.cancel()

    def begin(self, task: Task, config: str) -> Future:
        """Begins to build a configuration, for `result`."""
        return self._submit(task, config, lambda library: (workers.build, library))

    def _submit(self, task: Task, config: str, call: Callable[[str], tuple]) -> Future:
        self._count += 1
        function, library, *more = call(str(self.folder / f"candidate-{self._count}.so"))
        what = (self.files[task.key], self._target, config, library, *more)
        return self._pool.submit(function, *what)

    def result(self, task: Task, config: str, future: Future) -> workers.Built | Trial:
        """What became of a configuration, once it is built: as of `build`."""
        trial = Trial(task.key, config, Status.OK)
        try:
            result = future.result()
        except TimeoutError:
            error = f"not built within {self._timeout_s} s"
            return failure(trial, Status.BUILD_TIMEOUT, error, build_s=self._timeout_s)
        except Exception as error:
            return failure(trial, Status.BUILD_ERROR, error)
        if isinstance(result, str):
            return failure(trial, Status.INVALID, result)
        return result


def failure(trial: Trial, status: Status, error: object, **seconds: float) -> Trial:
    """A trial that failed, with the last line of its error."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [repr(error)]
    message = lines[-1].strip()[:300]
    return trial.replace(status=status, error=message, **seconds)
