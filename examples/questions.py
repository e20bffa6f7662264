"""Five questions to a run's trace: python questions.py RUN."""

import sys

import ami.tracing

tables = ami.tracing.load(sys.argv[1])
ticks, episodes = tables.ticks.to_pandas().query("live"), tables.episodes.to_pandas()

print("1. Where does the time of a tick go, in microseconds?")
print(tables.invocations.to_pandas().groupby("node")["us"].describe(percentiles=[0.5, 0.95]).round(), "\n")
print("2. When was the mind surprised the most?")
print(ticks.nlargest(3, "world_model.surprise")[["wave", "row", "tick", "kind", "world_model.surprise"]], "\n")
print("3. Does it feel better when it has succeeded? Energy at the end of an episode, solved or not:")
ends = ticks.groupby(["wave", "row"]).last().join(episodes.set_index(["wave", "row"])["success"])
print(ends.groupby("success")["cost.energy"].describe()[["count", "mean", "min", "max"]], "\n")
print("4. What did a solved episode cost, in steps of the world model, by kind of pair?")
spent = ticks.groupby(["wave", "row"])["planner.model_steps"].sum().rename("model steps")
print(episodes.query("success").join(spent, on=["wave", "row"]).groupby("kind")[["steps", "model steps"]].mean(), "\n")
print("5. Which wires bring news every tick, which say the same again and again? Different messages by tick:")
said = tables.messages.to_pandas().groupby(["node", "port"])["hash"]
print((said.nunique() / said.size()).sort_values().round(2).to_string())
