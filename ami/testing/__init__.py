"""Contracts: the promises of every module of a role, as checks that also run on a user's own modules.

    from ami.testing import check_planner
    from mypkg import MyPlanner

    def test_my_planner_keeps_the_contract():
        check_planner(MyPlanner)

Each check takes a factory of the module: a class whose settings all have defaults, or a function without arguments such as
`lambda: CEM(horizon=6)`. It builds the module without a graph, samples its inputs from its ports, binds small stubs to its
calls, and raises AssertionError if a promise is broken; the message names the promise, the evidence and the usual fix.
`examine(MyPlanner)` checks all promises and returns a report, which `ami check mypkg.MyPlanner` prints.
"""

from ami.testing.cost import check_cost
from ami.testing.module import check_module
from ami.testing.planner import check_planner
from ami.testing.report import Report
from ami.testing.roles import check_actor, check_configurator, check_goal, check_memory
from ami.testing.suite import examine
from ami.testing.world import check_world
from ami.testing.world_model import check_perception, check_world_model

__all__ = ["Report", "check_actor", "check_configurator", "check_cost", "check_goal", "check_memory", "check_module",
           "check_perception", "check_planner", "check_world", "check_world_model", "examine"]
