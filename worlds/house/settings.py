"""The settings of a house, the constructor of both environments: names and defaults are written once."""

from dataclasses import dataclass

from worlds.house.episodes import KINDS, Rules
from worlds.refusals import check_choice, check_count, check_number

OBSERVE_MODES = ("pixels", "state")
RENDER_MODES = ("rgb_array",)
MOST_BATTERY = 10_000.0  # ticks


@dataclass(kw_only=True, eq=False, repr=False)
class Settings:
    """Settings of a house.

    Args:
        rooms: K, rooms per side.
        kind: of the episodes that are started without options, "walk", "far" or "life", see `worlds.house.episodes`.
        observe: "pixels" or "state", the observation and the goal.
        errands: E, errands of a life.
        battery: ticks that a full battery lasts in a life.
        home_max: the most doors between home and a goal of a life.
        tour: whether "far" and "life" begin with a tour.
        shut: whether a door on the shortest way to the first goal is closed after the tour.
        thinking_cost: ticks of battery that a tick in mode 2 costs more. If it is above 0, an action is
            {"action": velocity, "mode": 1 or 2}.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: a setting is not possible.
    """

    rooms: int = 3
    kind: str = "walk"
    observe: str = "pixels"
    errands: int = 4
    battery: float = 100.0
    home_max: int = 3
    tour: bool = True
    shut: bool = False
    thinking_cost: float = 0.0
    render_mode: str | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_choice("observe", self.observe, OBSERVE_MODES)
        if self.render_mode is not None:
            check_choice("render_mode", self.render_mode, RENDER_MODES)
        for name, value, least in (("rooms", self.rooms, 3), ("errands", self.errands, 1), ("home_max", self.home_max, 1)):
            check_count(name, value, least)
        check_number("battery", self.battery, above=0.0, most=MOST_BATTERY)
        check_number("thinking_cost", self.thinking_cost)
        self.rules = Rules(self.rooms, self.errands, self.battery, self.home_max, self.tour, self.shut)
