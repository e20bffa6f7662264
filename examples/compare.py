"""Is holding one action as good as CEM on ice, at the same number of model steps?"""

import sys

import ami
from ami.terminal.console import Console

ice = ["world=gym", "world.id=my_world:Ice-v0", "perception=vector", "perception.width=16"]
planners = "planner._target_=modules.planner.cem.CEM,my_planner.Steady"
result = ami.compare([planners, *ice, *sys.argv[1:]], allow=["my_world.", "my_planner."], console=Console())
print(result.csv)
