"""Renamed settings: old names in a recording, old names typed."""

from __future__ import annotations

import pytest

from ami.config.compose import compose
from ami.config.renamed import RENAMED, renamed_overrides, renamed_settings
from ami.config.settings import check
from ami.errors import SettingError


def test_overrides_get_new_names_and_keep_their_form() -> None:
    assert renamed_overrides(["evaluation.beside=[random]", "++evaluation.film=0", "~evaluation.film_formats", "seed=1",
                              "evaluation.filmed=1", "world.beside=[evaluation.film=2]"]) == [
        "evaluation.baselines=[random]", "++evaluation.video=0", "~evaluation.video_formats", "seed=1",
        "evaluation.filmed=1", "world.beside=[evaluation.film=2]"]


def test_settings_get_new_names_in_their_own_section_alone() -> None:
    assert renamed_settings({"seed": 1, "evaluation": {"film": 2, "pairs": 3}, "planner": {"film": {"film": 4}}}) == {
        "seed": 1, "evaluation": {"video": 2, "pairs": 3}, "planner": {"film": {"film": 4}}}


@pytest.mark.parametrize("old", RENAMED)
def test_a_typed_old_name_is_refused_with_the_new_one(old: str) -> None:
    with pytest.raises(SettingError, match=f"^{old} is {RENAMED[old]} now. Fix: {RENAMED[old]}=…$"):
        compose([f"{old}=0"])


def test_every_new_name_is_a_setting() -> None:
    for new in RENAMED.values():
        section, name = new.split(".")
        assert not any("unknown" in mistake for mistake in check({section: {name: None}}))
