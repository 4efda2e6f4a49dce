"""A tuning behind the front door: the live run of ``run.py``, the package, the history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dgtl.core import local_history
from dgtl.core.history import History
from dgtl.front import package
from dgtl.results.run_folder import is_complete
from dgtl.results.summary import Summary
from dgtl.run import live
from dgtl.run.checks import check
from dgtl.run.settings import composed
from dgtl.run.start import resolved

if TYPE_CHECKING:
    from dgtl.front.options import Options


def tuned_into(options: Options) -> Summary:
    """Tunes a network into the folder of the options; a run that was stopped there goes on.

    Raises:
        ValueError: an option, model or history that cannot be used; a network that computes
            something else than in ONNX Runtime.
        KeyboardInterrupt: before anything was found.
    """
    package.check_free(options.out)
    cfg = composed(options.overrides(), options.values())
    if cfg.history.local is not None:
        local_history.make(Path(cfg.history.local))
    check(cfg, options.out)
    if not cfg.fresh and is_complete(options.out, resolved(cfg)):
        print(f"already tuned: {options.out} (fresh=true tunes it anew)")
    else:
        live.run(cfg, options.out)
        if cfg.history.local is not None:
            local_history.add(Path(cfg.history.local), History.read(options.out / "trials.jsonl"))
    package.write(options.out)
    return Summary.read(options.out / "summary.json")
