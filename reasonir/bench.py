"""python -m reasonir.bench: time one training step against peers, with the same texts and loss."""

from __future__ import annotations

from omegaconf import DictConfig

from reasonir.cli.command import command
from reasonir.cli.configuration import output_folder


@command("bench")
def main(config: DictConfig) -> None:
    """Time a training step."""
    from reasonir.benchmarking.compare import bench
    from reasonir.benchmarking.setup import BenchParts
    from reasonir.cli.configuration import build
    from reasonir.commands.compose import command_parts

    parts = BenchParts(
        **command_parts(config, output_folder()),
        model=build(config.model),
        hardware=build(config.hardware),
        texts=build(config.workload),
        peers={name: build(node) for name, node in config.peers.items()},
        mode=config.mode,
        batch_size=config.batch_size,
        negatives=config.negatives,
        repeats=config.repeats,
        memory_cap_gib=config.memory_cap_gib,
        peak_tflops=config.peak_tflops,
        max_queries=config.max_batch.max_queries,
        batch_sizes=list(config.scaling.batch_sizes),
        lengths=list(config.scaling.lengths),
        max_tokens=config.scaling.max_tokens,
        peers_python=config.peers_python,
        proof_parts=config.proof.parts,
        proof_folder=config.proof.folder,
    )
    bench(parts)


if __name__ == "__main__":
    main()
