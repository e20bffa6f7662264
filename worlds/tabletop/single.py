"""One table, as a gymnasium environment: the first row of the vector environment, so that both agree."""

from dataclasses import fields

from worlds.rows import FirstRow
from worlds.tabletop.settings import Settings
from worlds.tabletop.world import TableTopVectorEnv


class TableTopEnv(Settings, FirstRow):
    """One row of `TableTopVectorEnv`, with the same `Settings` and episode ends; options have no row axis."""

    metadata = {name: value for name, value in TableTopVectorEnv.metadata.items() if name != "autoreset_mode"}
    pair_kinds = TableTopVectorEnv.pair_kinds
    max_episode_steps = TableTopVectorEnv.max_episode_steps

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take(TableTopVectorEnv(1, **{one.name: getattr(self, one.name) for one in fields(Settings)}))
