"""The worlds of `ami`: gymnasium environments, registered on import, without imports of `ami` or torch."""

import gymnasium

# No `max_episode_steps` here: gymnasium would wrap only the single environment in a TimeLimit. The world counts its own
# steps, so that both environments agree.
gymnasium.register(
    id="ami/TwoRooms-v0",
    entry_point="worlds.two_rooms:TwoRoomsEnv",
    vector_entry_point="worlds.two_rooms:TwoRoomsVectorEnv",
)
gymnasium.register(
    id="ami/House-v0",
    entry_point="worlds.house.single:HouseEnv",
    vector_entry_point="worlds.house.world:HouseVectorEnv",
)
gymnasium.register(
    id="ami/TableTop-v0",
    entry_point="worlds.tabletop.single:TableTopEnv",
    vector_entry_point="worlds.tabletop.world:TableTopVectorEnv",
)
