"""The settings of a table, the constructor of both environments: names and defaults are written once."""

from dataclasses import dataclass

from worlds.refusals import check_choice, check_count, check_flag
from worlds.tabletop.episodes import KINDS, Rules
from worlds.tabletop.looks import OBJECT_SHAPES
from worlds.tabletop.options import check_unseen

OBSERVE_MODES = ("pixels", "state")
RENDER_MODES = ("rgb_array",)
SIZES = (32, 64)  # px, of a picture's side


@dataclass(kw_only=True, eq=False, repr=False)
class Settings:
    """Settings of a table.

    Args:
        size: px of a picture's side, 32 to 64.
        kind: of the episodes that are started without options, see `worlds.tabletop.episodes`.
        observe: "pixels" or "state", the observation and the goal.
        objects: 1 to 4, besides clutter.
        subgoals: whether the goal of `pick_and_place` is a sequence of three, which follow each other at steps 20 and 40.
        unseen: the factors of variation whose unseen values the pairs of an evaluation have: "all", "none", or some of
            texture, lighting, colours, clutter and camera, joined by +.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: a setting is not possible.
    """

    size: int = 48
    kind: str = "play"
    observe: str = "pixels"
    objects: int = 2
    subgoals: bool = False
    unseen: str = "all"
    render_mode: str | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, (*KINDS, "mixed"))
        check_choice("observe", self.observe, OBSERVE_MODES)
        if self.render_mode is not None:
            check_choice("render_mode", self.render_mode, RENDER_MODES)
        check_count("size", self.size, *SIZES)
        check_count("objects", self.objects, 1, len(OBJECT_SHAPES))
        check_flag("subgoals", self.subgoals)
        self.rules = Rules(self.objects, check_unseen(self.unseen))
