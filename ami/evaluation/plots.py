"""Plots: success or return beside the baselines, and how learning went."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ami.evaluation.compare_table import counts, kinds_of
from ami.evaluation.compare_table import judged_by as compared_by
from ami.evaluation.table import AGENT, BASELINES, judged_by
from ami.files import write_atomically

COLOURS = ("#0a6ebd", "#e08a1e", "#3a9d5d", "#a04a9c", "#7a7f8c", "#c2403a")
NOT_FIGURES = ("stage", "step")


def plot_results(summary: Mapping[str, Any], path: Path) -> None:
    """A bar per agent and kind of pair, with 95 % intervals, as a PNG: success, return, or a panel of each.

    Args:
        summary: as `ami.evaluation.table.summary` makes it.
    """
    names = [name for name in (AGENT, *BASELINES) if name in summary]
    kinds, measures = list(summary[AGENT]), judged_by(summary)
    figure = Figure(figsize=((1.6 + 1.5 * len(names)) * len(measures), 4.2), layout="constrained")
    for place, measure in enumerate(measures):
        _bars(figure.add_subplot(1, len(measures), place + 1), summary, names, kinds, measure)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(kinds), frameon=False)
    _save(figure, path)


def _bars(axes: Axes, summary: Mapping[str, Any], names: Sequence[str], kinds: Sequence[str], measure: str) -> None:
    middle, low, high = ("return", "return_low", "return_high") if measure == "return" else ("success", "low", "high")
    scale = 1 if measure == "return" else 100
    width = 0.8 / len(kinds)
    for place, kind in enumerate(kinds):
        figures = [summary[name][kind] for name in names]
        at = [i + (place - (len(kinds) - 1) / 2) * width for i in range(len(names))]
        rates = [scale * f[middle] for f in figures]
        reach = [[max(0.0, scale * (f[middle] - f[low])) for f in figures],
                 [max(0.0, scale * (f[high] - f[middle])) for f in figures]]
        axes.bar(at, rates, 0.92 * width, color=COLOURS[place % len(COLOURS)], label=kind.replace("_", " "), yerr=reach,
                 capsize=4, error_kw={"ecolor": "#30343c", "elinewidth": 1.2})
        for x, rate, f in zip(at, rates, figures, strict=True):
            top = max(scale * f[high], 0)
            axes.annotate(f"{rate:.3g}", (x, top), (0, 4), textcoords="offset points", ha="center", size=9)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    if measure == "return":
        axes.margins(y=0.12)
        axes.axhline(0, color="#30343c", linewidth=0.8)
    else:
        axes.set_ylim(0, 109)
        axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("mean return" if measure == "return" else "success, %")
    count = summary[AGENT][kinds[0]]["n"]
    axes.set_title(f"{count} pairs of each kind, 95 % intervals, manifest {summary['manifest_hash']}", size=10,
                   loc="left")
    _tidy(axes)


def plot_comparison(summary: Mapping[str, Any], path: Path) -> None:
    """A line per variant: a point with its 95 % interval per kind of pair, and a small mark per training seed, as a PNG.

    Args:
        summary: as `ami compare` writes it.
    """
    variants = {label: found for label, found in summary["variants"].items() if not found.get("refused")}
    judged = compared_by(variants)
    figure = Figure(figsize=(2.5 + 5.5 * len(judged), 1.8 + 0.42 * len(variants)), layout="constrained")
    for place, measure in enumerate(judged):
        axes = figure.add_subplot(1, len(judged), place + 1)
        _points(axes, list(variants.values()), kinds_of(variants), measure)
        names = [f"{label} (reference)" if label == summary["against"] else label for label in variants]
        axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names))
        axes.set_ylim(len(names) - 0.4, -0.6)
    figure.suptitle(f"{counts(variants)}, {len(summary['seeds'])} seeds, 95 % intervals", size=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False,
                  ncols=max(len(kinds_of(variants)), 1))
    _save(figure, path)


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


def plot_learning(rows: Sequence[Mapping[str, float | str]], path: Path) -> None:
    """One panel per stage of learning, a curve per figure, as a PNG.

    Args:
        rows: what was logged: "stage", "step" and any figures; a figure may be missing in some rows.
    """
    stages = list(dict.fromkeys(str(row.get("stage", "learning")) for row in rows))
    figure = Figure(figsize=(1 + 5 * max(len(stages), 1), 4.2), layout="constrained")
    for place, stage in enumerate(stages):
        axes = figure.add_subplot(1, len(stages), place + 1)
        own = [row for row in rows if str(row.get("stage", "learning")) == stage]
        names = [n for n in dict.fromkeys(name for row in own for name in row) if n not in NOT_FIGURES]
        smallest = float("inf")
        for number, name in enumerate(names):
            curve = [(float(row["step"]), float(row[name])) for row in own if name in row]
            smallest = min(smallest, *(value for _, value in curve))
            axes.plot(*zip(*curve, strict=True), label=name.replace("_", " "), color=COLOURS[number % len(COLOURS)],
                      linewidth=2.2 if name == "loss" else 1.3, marker="." if len(curve) < 12 else None)
        if smallest > 0:
            axes.set_yscale("log")
        axes.set_title(stage.replace("_", " "), loc="left")
        axes.set_xlabel("step")
        _tidy(axes)
        axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e5e8")
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    """Without pyplot: no window, no state shared with the user's own figures."""
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    write_atomically(path, written.getvalue())
