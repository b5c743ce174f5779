"""Our server and our Lock against Apache ZooKeeper and kazoo, in one run, as ratios (`python -m benchmarks`)."""
