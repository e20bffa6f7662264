"""Plots: success or return of agent and baselines, and learning curves."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ami.evaluation.table import AGENT, agents_of, judged_by
from ami.storage.files import write_atomically

COLOURS = ("#0a6ebd", "#e08a1e", "#3a9d5d", "#a04a9c", "#7a7f8c", "#c2403a")
CURVES = (*COLOURS, "#1f3a5f", "#c9a227", "#17a2a2", "#8c564b", "#e377c2", "#6b8e23", "#483d8b", "#ff7f50")
NOT_FIGURES = ("stage", "step")
COLLECT = "collect"
SHARES = ("probe_r2", "success", "error_vs_persistence", "learner_waited", "agents_waited")
RETURNS, AMOUNTS, AGES = ("return", "steps", "episodes"), ("world_steps", "buffer"), ("lag", "delay", "staleness")
NOT_DRAWN = (*NOT_FIGURES, "replay_ratio", "queue")
PANELS: dict[str, Callable[[str], bool]] = {
    "loss": lambda name: name not in (*SHARES, *RETURNS, *AMOUNTS, *AGES), "share": lambda name: name in SHARES,
    "episodes": lambda name: name in RETURNS, "observations": lambda name: name in AMOUNTS,
    "steps of learning": lambda name: name in AGES}
"""Figures with one scale, which share a panel."""
SMOOTHED_FROM, MOST_NAMES = 30, 8


def plot_results(summary: Mapping[str, Any], path: Path) -> None:
    """Draw a bar per agent and kind of pair, with 95 % intervals, as a PNG: success, return, or a panel of each.

    Args:
        summary: as returned by `ami.evaluation.table.summary`.
    """
    names = agents_of(summary)
    kinds, measures = list(summary[AGENT]), judged_by(summary)
    figure = Figure(figsize=((1.6 + 1.5 * len(names)) * len(measures), 4.2), layout="constrained")
    for place, measure in enumerate(measures):
        _bars(figure.add_subplot(1, len(measures), place + 1), summary, names, kinds, measure)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(kinds), frameon=False)
    save_figure(figure, path)


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


def plot_learning(rows: Sequence[Mapping[str, float | str]], path: Path) -> None:
    """Draw the figures of training over its steps, as a PNG: losses on a log scale, below them shares and returns.

    Stages follow each other along the axis and are marked. A figure has one colour; the raw curve is behind the
    smoothed one.

    Args:
        rows: logged rows: "stage", "step" and any figures; a figure may be missing in some rows.
    """
    curves, begins, end = _curves(rows)
    panels = {title: names for title, of in PANELS.items() if (names := [name for name in curves if of(name)])}
    panels = panels or {"loss": []}
    colours = {name: CURVES[number % len(CURVES)] for number, name in enumerate(curves)}
    figure = Figure(figsize=(10, 0.6 + 2.9 * len(panels)), layout="constrained")
    for place, (title, names) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, place + 1)
        for name in names:
            steps, values = curves[name]
            is_long = len(values) > SMOOTHED_FROM
            smooth = _smoothed(values) if is_long else values
            if is_long:
                axes.plot(steps, values, color=colours[name], linewidth=0.8, alpha=0.25)
            axes.plot(steps, smooth, color=colours[name], linewidth=2.2 if name == "loss" else 1.5,
                      label=name.replace("_", " "), marker=None if is_long else ".")
        drawn = np.concatenate([curves[name][1] for name in names]) if names else np.ones(1)
        if title == "loss":
            axes.set_yscale("log" if (drawn[np.isfinite(drawn)] > 0).all() else "symlog")
        _mark_stages(axes, begins, end, with_names=place == 0)
        axes.set_ylabel(title)
        _tidy(axes)
        if names:
            axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.axes[-1].set_xlabel("step")
    save_figure(figure, path)


def _curves(rows: Sequence[Mapping[str, float | str]]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]],
                                                                 list[tuple[float, str]], float]:
    """Return steps and values by figure, with stages in sequence; the start and name of each stage; the last step."""
    points: dict[str, list[tuple[float, float]]] = {}
    begins: list[tuple[float, str]] = []
    of_stage: dict[str, tuple[float, float]] = {}  # where it begins, and its last step
    offset = end = 0.0
    at_once = _alternate(rows)
    for row in rows:
        name, step = str(row.get("stage", "learning")), float(row["step"])
        if name == COLLECT:  # its steps are rounds
            step = end - offset
        else:
            offset, last = of_stage.get(name, (end, math.inf))
            if step < last:  # a new stage, or its next round; stages that learn at once begin at the same step
                offset = end
                begins.append((offset, name))
            of_stage[name] = offset, step
        end = max(end, offset + step)
        for figure, value in row.items():
            if figure not in NOT_DRAWN:
                found = points.setdefault(f"{name} {figure}" if at_once and figure == "loss" else figure, [])
                if found and found[-1][0] < offset and PANELS["loss"](figure):
                    found.append((offset, math.nan))  # losses of different stages are not connected
                found.append((offset + step, float(value)))
    return {name: (np.array(found)[:, 0], np.array(found)[:, 1]) for name, found in points.items()}, begins, end


def _alternate(rows: Sequence[Mapping[str, float | str]]) -> bool:
    """Return whether stages learn at once: one goes on after another has logged."""
    last: dict[str, float] = {}
    before = None
    for row in rows:
        name, step = str(row.get("stage", "learning")), float(row["step"])
        if name != COLLECT:
            if name != before and step > last.get(name, math.inf):
                return True
            last[name], before = step, name
    return False


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return an exponential moving average, slower for longer curves, with bias correction (Kingma and Ba, 2015). It
    restarts after each gap."""
    keep = 1 - 1 / max(2.0, len(values) / 60)
    mean, weight, smooth = 0.0, 0.0, []
    for value in values:
        if np.isfinite(value):
            mean, weight = keep * mean + (1 - keep) * float(value), keep * weight + 1 - keep
        else:
            mean = weight = 0.0
        smooth.append(mean / weight if weight else math.nan)
    return np.array(smooth)


def _mark_stages(axes: Axes, begins: Sequence[tuple[float, str]], end: float, with_names: bool) -> None:
    """Draw a line at the start of each stage; its name above the first panel, unless there are too many."""
    for number, (begin, name) in enumerate(begins):
        if number:
            axes.axvline(begin, color="#9aa0ac", linewidth=0.8, linestyle=":")
        if with_names and len(begins) <= MOST_NAMES:
            axes.annotate(name.replace("_", " "), (begin, 1), (3, 3), xycoords=("data", "axes fraction"),
                          textcoords="offset points", size=9, color="#565c68")
    if end > 0:
        axes.set_xlim(0, end)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e5e8")
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, atomically; without pyplot, which would share state with the user's figures."""
    written = io.BytesIO()
    FigureCanvasAgg(figure).print_png(written)
    write_atomically(path, written.getvalue())
