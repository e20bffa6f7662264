"""A comparison as a table for the terminal and as CSV. Every figure comes from `ami.comparison.figures.figures`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ami.comparison.names import shown_names
from ami.errors import first_reason
from ami.evaluation.sheet import Sheet
from ami.evaluation.table import columns_of, digits, mean_steps, measures, metric_columns, words

COLUMNS = ("variant", "kind", "seed", "n", "success", "low", "high", "mean_steps", "return", "return_low", "return_high",
           "success_difference", "success_difference_low", "success_difference_high", "success_p", "success_p_holm",
           "success_test", "only_this", "only_other", "return_difference", "return_difference_low", "return_difference_high",
           "return_p", "return_p_holm", "return_test", "model_steps_per_plan", "ms_per_decision", "learning_seconds",
           "manifest_hash", "reason")
COSTS = ("model_steps_per_plan", "ms_per_decision", "learning_seconds", "manifest_hash")
MEASURES = ("success", "return")
TESTS = {"McNemar": "McNemar's exact test", "Wilcoxon": "Wilcoxon's signed-rank test",
         "crossed": "analysis of variance of seeds crossed with pairs"}


def compare_table(summary: Mapping[str, Any]) -> Sheet:
    """Return a table with one row per variant: success, return or both by kind, with the test against the reference; then
    steps, costs and metrics.

    Args:
        summary: as written by `ami compare`: "variants", "against", "seeds".
    """
    variants, against, seeds = summary["variants"], summary["against"], summary["seeds"]
    judged, kinds = judged_by(variants), kinds_of(variants)
    what = " and ".join("mean return" if measure == "return" else measure for measure in judged)
    columns = columns_of(kinds, judged)
    metrics = metric_columns([found["kinds"] for found in variants.values() if "kinds" in found], kinds)
    title = f"{what[0].upper()}{what[1:]} over {len(seeds)} training seed{'s' * (len(seeds) > 1)}, with 95 % intervals"
    sheet = Sheet(title, ["", *(header for header, _ in columns), "model\nsteps", "ms", "learn\nmin",
                          *(header for header, _ in metrics)])
    reasons: dict[str, list[str]] = {}
    names = shown_names(summary)
    for label, found in variants.items():
        name = names[label]
        if found.get("refused"):
            sheet.add(name, ["–"] * (len(sheet.columns) - 1), "dim")
            reasons.setdefault("refused: " + first_reason(found["refused"]), []).append(label)
            continue
        cells = [cell(found["kinds"]) for _, cell in columns]
        for place, (kind, measure) in enumerate((kind, measure) for kind in kinds for measure in judged):
            cells[place] += f"\n[dim]{_test_of(found['kinds'].get(kind), measure, label == against)}[/dim]"
        steps = found["model_steps_per_plan"]
        sheet.add(name, [*cells, f"{steps:.0f}" if steps else "–", digits(found["ms_per_decision"]),
                         f"{found['learning_seconds'] / 60:.1f}" if found["learning_seconds"] else "–",
                         *(cell(found["kinds"]) for _, cell in metrics)],
                  "bold" if label == against else None)
        for reason in dict.fromkeys((figure["test"] or {}).get("reason") for figure in found["kinds"].values()):
            if reason:
                reasons.setdefault(reason, []).append(label)
    used = [TESTS[name] for name in tests_of(variants, judged)]
    tests = (f"p: {' and '.join(used)}, pair by pair against '{' '.join(names[against].split())}', corrected for the number "
             "of variants (Holm). "
             if used else "")
    sheet.caption = "\n".join([
        f"{counts(variants)}. {tests}{unit(seeds)} Columns: {mean_steps(kinds, judged)}; model steps per planned "
        "decision; ms: wall milliseconds per decision; minutes of learning per seed.",
        *(f"{', '.join(labels)}: {why}" for why, labels in reasons.items())])
    return sheet


def unit(seeds: Sequence[int]) -> str:
    """Return the statistical unit of intervals and tests, for the caption."""
    if len(seeds) == 1:
        return f"The training seed is not varied: results hold for agents of seed {seeds[0]} alone, on other pairs."
    return "The unit is the training seed, crossed with the pairs."


def tests_of(variants: Mapping[str, Any], judged: Sequence[str]) -> list[str]:
    """Return the names of the tests used."""
    made = [figure["test"] for found in variants.values() for figure in found.get("kinds", {}).values() if figure["test"]]
    return list(dict.fromkeys(test[measure]["test"] for test in made for measure in judged if measure in test))


def compare_csv(summary: Mapping[str, Any]) -> str:
    """Return a CSV: one line per variant and kind over all seeds (`seed` is "all") and per seed; one per refused variant.

    A column per swept key follows the variant; at the end are three columns per metric: mean, low and high.
    """
    text = io.StringIO()
    variants, swept = summary["variants"], summary.get("swept", {})
    keys = list(dict.fromkeys(key for values in swept.values() for key in values))
    metrics = list(dict.fromkeys(name for found in variants.values() for figure in found.get("kinds", {}).values()
                                 for name in figure.get("metrics", {})))
    columns = [COLUMNS[0], *keys, *COLUMNS[1:], *(name + end for name in metrics for end in ("", "_low", "_high"))]
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for label, found in variants.items():
        row = {"variant": label, **swept.get(label, {})}
        if found.get("refused"):
            writer.writerow(row | {"reason": f"refused: {found['refused']}"})
            continue
        for kind, figure in found["kinds"].items():
            own = {name + end: values[key] for name, values in figure.get("metrics", {}).items()
                   for end, key in (("", "mean"), ("_low", "low"), ("_high", "high"))}
            whole = {**figure, **own, **_tests(figure["test"] or {}), **{name: found[name] for name in COSTS}}
            writer.writerow(row | {"kind": kind, "seed": "all"} | _known(whole))
            for seed, one in figure["seeds"].items():
                writer.writerow(row | {"kind": kind, "seed": seed, "n": figure["n"] // len(figure["seeds"])}
                                | _known(one) | one.get("metrics", {}))
    return text.getvalue()


def _known(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if value is not None}


def judged_by(variants: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the measures of a comparison: success, return or both; see `ami.evaluation.table.judged_by`."""
    return measures([figure for found in variants.values() for figure in found.get("kinds", {}).values()])


def kinds_of(variants: Mapping[str, Any]) -> list[str]:
    """Return the kinds of pair of all variants, in their order."""
    return list(dict.fromkeys(kind for found in variants.values() for kind in found.get("kinds", ())))


def counts(variants: Mapping[str, Any]) -> str:
    """Return the number of episodes of each figure, as text."""
    def of(kind: str) -> Iterator[int]:
        yield from {found["kinds"][kind]["n"] for found in variants.values() if kind in found.get("kinds", ())}

    named = [f"{' or '.join(map(str, of(kind)))} {'' if kind == 'episode' else words(kind)}" for kind in kinds_of(variants)]
    return ", ".join(text.strip() for text in named) + " episodes each"


def p_value(p: float) -> str:
    """Format a p value: `p = 0.031`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _tests(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return a test's figures by column name."""
    named = {"difference": "difference", "low": "difference_low", "high": "difference_high", "p": "p", "p_holm": "p_holm",
             "test": "test"}
    found = {f"{measure}_{column}": test[measure][name] for measure in MEASURES if measure in test
             for name, column in named.items() if name in test[measure]}
    counted = {name: test["success"][name] for name in ("only_this", "only_other")} if "success" in test else {}
    return found | counted | {name: test[name] for name in ("reason",) if name in test}


def _test_of(figure: Mapping[str, Any] | None, measure: str, is_reference: bool) -> str:
    test = (figure or {}).get("test") or {}
    if is_reference and figure is not None:
        return "reference"
    return p_value(test[measure]["p_holm"]) if measure in test else "–"
