"""The plot of a comparison: success or return of every variant, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ami.comparison.names import shown_names
from ami.comparison.table import counts, judged_by, kinds_of
from ami.evaluation.plots import COLOURS, save_figure


def plot_comparison(summary: Mapping[str, Any], path: Path) -> None:
    """Draw a row per variant: a point with its 95 % interval per kind of pair, and a small mark per training seed, as a PNG.

    Args:
        summary: as written by `ami compare`.
    """
    variants = {label: found for label, found in summary["variants"].items() if not found.get("refused")}
    judged = judged_by(variants)
    shown = shown_names(summary)
    names = [shown[label] + " (reference)" * (label == summary["against"]) for label in variants]
    lines = [line for name in names for line in name.split("\n")]
    height = 1.8 + max(0.42, 0.2 * len(lines) / max(len(names), 1)) * len(names)
    figure = Figure(figsize=(max(2.5, 0.1 * max(map(len, lines), default=0)) + 5.5 * len(judged), height),
                    layout="constrained")
    for place, measure in enumerate(judged):
        axes = figure.add_subplot(1, len(judged), place + 1)
        _points(axes, list(variants.values()), kinds_of(variants), measure)
        axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names))
        axes.set_ylim(len(names) - 0.4, -0.6)
    figure.suptitle(f"{counts(variants)}, {len(summary['seeds'])} seeds, 95 % intervals", size=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False,
                  ncols=max(len(kinds_of(variants)), 1))
    save_figure(figure, path)


def _points(axes: Axes, variants: Sequence[Mapping[str, Any]], kinds: Sequence[str], measure: str) -> None:
    middle, low, high = ("return", "return_low", "return_high") if measure == "return" else ("success", "low", "high")
    scale = 1 if measure == "return" else 100
    for place, kind in enumerate(kinds):
        colour = COLOURS[place % len(COLOURS)]
        shown = [(row + (place - (len(kinds) - 1) / 2) * 0.5 / len(kinds), found["kinds"][kind])
                 for row, found in enumerate(variants) if found["kinds"].get(kind, {}).get(middle) is not None]
        reach = [[max(0.0, scale * (f[middle] - f[low])) for _, f in shown],
                 [max(0.0, scale * (f[high] - f[middle])) for _, f in shown]]
        axes.errorbar([scale * f[middle] for _, f in shown], [y for y, _ in shown], xerr=reach, fmt="o", color=colour,
                      capsize=3, label=kind.replace("_", " "))
        marks = [(scale * seed[middle], y) for y, f in shown for seed in f["seeds"].values()]
        axes.plot(*zip(*marks, strict=True), linestyle="", marker="|", color=colour, alpha=0.6, markersize=9)
    if measure != "return":
        axes.set_xlim(-3, 103)
    axes.set_xlabel(f"{'mean return' if measure == 'return' else 'success, %'}; thin marks: one training seed each")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e5e8")
    axes.set_axisbelow(True)
