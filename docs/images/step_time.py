"""Draw docs/images/step-time.png: training time per step of every peer as a multiple of reasonir's.

The figures are those of docs/performance.md. Run it from the repository's root: python docs/images/step_time.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

OURS, PEERS = "#0072b2", ("#999999", "#666666", "#bbbbbb")
RATIOS = {
    "ColBERT, MedQuAD lengths": {
        "PyLate 1.6": 3.10,
        "sentence-transformers 6.2": 2.74,
        "sentence-transformers 6.2, token budget": 2.47,
    },
    "ColBERT, SciFact lengths": {"PyLate 1.6": 2.34, "sentence-transformers 6.2": 1.94},
    "bi-encoder, MedQuAD lengths": {"sentence-transformers 5.3": 2.61, "sentence-transformers 6.2": 2.93},
    "cross-encoder, MedQuAD lengths": {"sentence-transformers 5.3": 2.88, "sentence-transformers 6.2": 2.61},
}
COLOURS = {
    "reasonir": OURS,
    "PyLate 1.6": PEERS[1],
    "sentence-transformers 6.2": PEERS[0],
    "sentence-transformers 6.2, token budget": PEERS[0],
    "sentence-transformers 5.3": PEERS[2],
}


def main() -> None:
    """Write the figure next to this file."""
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    row, ticks = 0.0, {}
    for workload, peers in reversed(RATIOS.items()):
        bars = {**dict(reversed(peers.items())), "reasonir": 1.0}
        for number, (name, ratio) in enumerate(bars.items()):
            axes.barh(row + number, ratio, color=COLOURS[name], height=0.86)
            axes.annotate(
                f"{ratio:.2f}x  {name}",
                (ratio, row + number),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                size=9,
            )
        ticks[row + (len(bars) - 1) / 2] = workload
        row += len(bars) + 0.7
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set(
        xlim=(0, 4.5),
        xlabel="seconds per training step as a multiple of reasonir's; 2 CPU cores, float32, exact gradients",
    )
    figure.savefig(Path(__file__).with_name("step-time.png"), dpi=130)


if __name__ == "__main__":
    main()
