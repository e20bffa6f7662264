"""Worlds of `ami`: gymnasium environments, registered on import. They import neither `ami` nor torch."""

import gymnasium

# No `max_episode_steps` here: gymnasium would wrap the single environment in a TimeLimit and leave the vector
# one without it. The world counts its own steps, so that both agree.
gymnasium.register(
    id="ami/TwoRooms-v0",
    entry_point="worlds.two_rooms:TwoRoomsEnv",
    vector_entry_point="worlds.two_rooms:TwoRoomsVectorEnv",
)
