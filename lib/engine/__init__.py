"""From a plan to finished runs: parameters, the graph, kernels, commands."""
