"""One house, as a gymnasium environment: the first row of the vector environment, so that both agree."""

from dataclasses import fields

from worlds.house.settings import Settings
from worlds.house.world import HouseVectorEnv
from worlds.rows import FirstRow


class HouseEnv(Settings, FirstRow):
    """One row of `HouseVectorEnv`, with the same `Settings` and episode ends; options have no row axis."""

    metadata = {name: value for name, value in HouseVectorEnv.metadata.items() if name != "autoreset_mode"}
    pair_kinds = HouseVectorEnv.pair_kinds

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = HouseVectorEnv(1, **{one.name: getattr(self, one.name) for one in fields(Settings)})
        self.max_episode_steps = rows.max_episode_steps
        self.take(rows)
