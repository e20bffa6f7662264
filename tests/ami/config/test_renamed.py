"""Renamed settings: old names in a recording, old names typed."""

from __future__ import annotations

from importlib import import_module
from inspect import signature

import pytest

from ami.config.compose import compose
from ami.config.renamed import RENAMED, RENAMED_OF, renamed_overrides, renamed_settings
from ami.config.settings import check
from ami.config.stage_options import DEFAULTS
from ami.errors import SettingError


def test_overrides_get_new_names_and_keep_their_form() -> None:
    assert renamed_overrides(["evaluation.beside=[random]", "++evaluation.film=0", "~evaluation.film_formats", "seed=1",
                              "evaluation.filmed=1", "world.beside=[evaluation.film=2]"]) == [
        "evaluation.baselines=[random]", "++evaluation.video=0", "~evaluation.video_formats", "seed=1",
        "evaluation.filmed=1", "world.beside=[evaluation.film=2]"]


def test_settings_get_new_names_in_their_own_section_alone() -> None:
    assert renamed_settings({"seed": 1, "evaluation": {"film": 2, "pairs": 3}, "planner": {"film": {"film": 4}}}) == {
        "seed": 1, "evaluation": {"video": 2, "pairs": 3}, "planner": {"film": {"film": 4}}}


def test_recorded_stages_are_read_with_sources_and_optimisers() -> None:
    old = {"train": ["cost"], "loss": "cost", "steps": 9, "data": "memory", "window": 50, "ends": 0.25, "weight_decay": 0.0,
           "warm_up": 3}
    new = {"train": ["cost"], "loss": "cost", "steps": 9,
           "source": {"name": "hindsight_states", "within": 50, "terminal_share": 0.25},
           "optimiser": {"name": "adamw", "weight_decay": 0.0}, "scheduler": {"name": "cosine", "warm_up": 3}}
    assert renamed_settings({"learning": {"stages": {"critic": old, "gone": None}, "threads": 1}}) == {
        "learning": {"stages": {"critic": new, "gone": None}, "threads": 1}}
    assert renamed_settings({"learning": {"stages": {"critic": new}}}) == {"learning": {"stages": {"critic": new}}}
    assert renamed_overrides(["learning.stages.model.window=3", "++learning.stages.critic.data=memory"]) == [
        "learning.stages.model.source.length=3", "++learning.stages.critic.source=hindsight_states"]


@pytest.mark.parametrize("old", RENAMED)
def test_a_typed_old_name_is_refused_with_the_new_one(old: str) -> None:
    old, new = old.replace("*", "model"), RENAMED[old].replace("*", "model")
    with pytest.raises(SettingError, match=f"^{old} is {new} now. Fix: {new}=…$"):
        compose([f"{old}=0"])


def test_every_new_name_is_a_setting() -> None:
    for new in RENAMED.values():
        if new.startswith("learning"):
            assert new.split(".")[3] in DEFAULTS
        else:
            section, name = new.split(".")
            assert not any("unknown" in mistake for mistake in check({section: {name: None}}))


# Modules --------------------------------------------------------------------------------------------------------------

VALUE = {"_target_": "modules.cost.value.Value", "slip": 0.5, "gamma": 0.9}
RECORDED = {"cost": {"_target_": "modules.cost.weighted_sum.WeightedSum", "slip": 1, "critics": {"value": VALUE}},
            "actor": {"_target_": "mypkg.Actor", "keep": 2}}


def test_settings_of_modules_get_new_names_by_class_at_any_depth() -> None:
    assert renamed_settings(RECORDED) == {
        "cost": {"_target_": "modules.cost.weighted_sum.WeightedSum", "slip": 1,
                 "critics": {"value": {"_target_": "modules.cost.value.Value", "mean_backup": 0.5, "gamma": 0.9}}},
        "actor": {"_target_": "mypkg.Actor", "keep": 2}}


def test_overrides_of_modules_get_new_names_by_the_class_in_the_configuration() -> None:
    assert renamed_overrides(["++cost.critics.value.slip=0.5", "~cost.critics.value.slip", "cost.slip=1", "actor.keep=2",
                              "planner.keep=3", "cost=reward"], RECORDED) == [
        "++cost.critics.value.mean_backup=0.5", "~cost.critics.value.mean_backup", "cost.slip=1", "actor.keep=2",
        "planner.keep=3", "cost=reward"]


@pytest.mark.parametrize(("overrides", "old", "new"), [
    (["world_model.in_steps=true"], "world_model.in_steps", "world_model.normalise_deltas"),
    (["cost=reward", "cost.critics.value.slip=0.1"], "cost.critics.value.slip", "cost.critics.value.mean_backup"),
    (["world_model=factored", "world_model.grafts=0.5"], "world_model.grafts", "world_model.rebase_goals")])
def test_a_typed_old_name_of_a_module_is_refused_with_the_new_one(overrides: list[str], old: str, new: str) -> None:
    with pytest.raises(SettingError) as refused:
        compose(overrides)
    assert str(refused.value).splitlines()[0] == f"{old} is {new} now. Fix: {new}=…"


@pytest.mark.parametrize("target", RENAMED_OF)
def test_the_class_has_every_new_name_and_no_old_one(target: str) -> None:
    file, _, name = target.rpartition(".")
    settings = signature(getattr(import_module(file), name)).parameters
    assert set(RENAMED_OF[target].values()) <= set(settings) and not set(RENAMED_OF[target]) & set(settings)
