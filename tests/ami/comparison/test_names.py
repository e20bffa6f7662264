"""Names of variants: the shortest unambiguous end of each swept key."""

from __future__ import annotations

import pytest

from ami.comparison.names import shortened, shown_names


@pytest.mark.parametrize(("keys", "short"), [
    (["planner"], ["planner"]), (["planner.horizon", "seed"], ["planner.horizon", "seed"]),
    (["learning.stages.model.optimiser"], ["optimiser"]),
    (["learning.stages.model.steps", "learning.stages.critic.steps"], ["model.steps", "critic.steps"]),
    (["learning.stages.model.source.length", "world.length"], ["source.length", "world.length"]),
    (["a.b.c", "b.c"], ["a.b.c", "b.c"]),
])
def test_a_key_is_shortened_as_far_as_it_stays_unambiguous(keys: list[str], short: list[str]) -> None:
    assert [shortened(keys)[key] for key in keys] == short


def test_a_variant_has_a_line_per_swept_key() -> None:
    label = "planner=cem learning.stages.model.optimiser=sgd"
    summary = {"variants": {label: {}, "without memory": {}},
               "swept": {label: {"planner": "cem", "learning.stages.model.optimiser": "sgd"}}}
    assert shown_names(summary) == {label: "planner=cem\noptimiser=sgd", "without memory": "without memory"}
