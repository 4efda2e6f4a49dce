"""Tunes a network for this machine: python run.py model=dgp workload=resnet18"""

import hydra
from omegaconf import DictConfig

from dgtl.run.command import call


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    # Here, so that --help does not wait for TVM.
    from dgtl.run import live as experiment

    experiment.main(cfg)


if __name__ == "__main__":
    call(main)
