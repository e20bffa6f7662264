"""The engine: ports, modules, graph, agent, runtimes, learning, evaluation and traces."""
