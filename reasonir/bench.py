"""python -m reasonir.bench: time one training step against peers, on the same texts, with the same loss."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from reasonir.cli.command import command


@command("bench")
def main(config: DictConfig) -> None:
    """Time what the configuration names."""
    from hydra.core.hydra_config import HydraConfig

    from reasonir.benchmarking.compare import bench

    bench(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    main()
