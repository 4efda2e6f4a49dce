"""Tunes a network for this machine: python run.py model=dgp workload=resnet18"""

import sys

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    # Here, so that --help does not wait for TVM.
    from dgtl.run import live as experiment

    experiment.main(cfg)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
