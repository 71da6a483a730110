"""The program people run: workloads, building and running simulations, baselines, results and report."""
