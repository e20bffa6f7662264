import pyarrow as pa
import pytest

from ami.errors import SettingError, UnknownName
from ami.views.query import Condition

TICKS = pa.table({
    "tick": pa.array([0, 1, 2, 3], pa.int32()),
    "kind": ["across", "across", "same_room", None],
    "world_model.surprise": pa.array([0.5, 4.0, None, 9.0], pa.float32()),
    "cost.energy": pa.array([1.0, -2.0, 3.0, 4.0], pa.float32()),
    "planner.energy": pa.array([1.0, 1.0, 1.0, 1.0], pa.float32()),
    "world.success": pa.array([False, False, True, None]),
})


@pytest.mark.parametrize("text, rows", [
    ("surprise > 3", [1, 3]),
    ("surprise <= 3", [0]),
    ("surprise != 4", [0, 3]),
    ("world_model.surprise > 3 and tick < 3", [1]),
    ("0 < tick <= 2", [1, 2]),
    ("cost.energy > -1.5 and not kind == 'across'", [2, 3]),
    ("success", [2]),
    ("success == false", [0, 1]),
    ("(tick == 0 or success) and cost.energy >= planner.energy", [0, 2]),
    ("kind != 'across'", [2]),
    ("not success", [0, 1, 3])])
def test_rows_in_which_a_condition_holds(text: str, rows: list[int]) -> None:
    assert Condition(text).holds(TICKS).nonzero()[0].tolist() == rows


def test_the_columns_of_a_condition_in_written_order() -> None:
    assert Condition("tick > 2 and surprise > 3 and tick < 9").columns(TICKS) == ["tick", "world_model.surprise"]


@pytest.mark.parametrize("text, error, words", [
    ("surprise >", SettingError, r"--where is 'surprise >': expected comparisons of figures, such as 'surprise > 3"),
    ("surprise + 3", SettingError, "expected comparisons"),
    ("__import__('os').system('ls') == 0", SettingError, "expected comparisons"),
    ("tick in 3", SettingError, "expected comparisons"),
    ("kind > 3", SettingError, "expected comparisons"),
    ("-kind > 3", SettingError, "--where is '-kind > 3': expected comparisons of figures"),
    ("-success == 1", SettingError, "expected comparisons"),
    ("kind", SettingError, "--where is 'kind': expected comparisons"),
    ("surprise > 3 and 'across'", SettingError, "expected comparisons"),
    ("3", SettingError, "--where is '3': expected comparisons"),
    ("'surprise > 3'", SettingError, "expected comparisons"),
    ("surprize > 3", UnknownName, r"unknown figure 'surprize': did you mean 'surprise'\?"),
    ("energy > 3", SettingError, r"--where has the ambiguous name 'energy': expected one of cost.energy, planner.energy")])
def test_an_invalid_condition_is_refused(text: str, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        Condition(text).holds(TICKS)
