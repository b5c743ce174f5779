#!/usr/bin/env bash
# tooz 9.1.0: a HashRing goes on giving objects to a node that was removed, if the node had been added before with a
# higher weight. `nodes` no longer names it.
#
# A node that is added again with a lower weight keeps its points on the ring from the first time, and counts by its new
# weight only: its load does not fall, and remove_node() takes away the points of the new weight, so that others stay.
#
# Seen (two nodes, one of them with weight 3 first and 1 later; 1,000 objects):
#     weight 1: {'changed': 404, 'other': 596}
#         removed; nodes: ['other']; {'other': 1000}
#     weight 3, then 1: {'changed': 780, 'other': 220}
#         removed; nodes: ['other']; {'changed': 671, 'other': 329}
#
# Exit code 0 while that is so, 1 when it changes.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv env
env/bin/pip install -q tooz==9.1.0

cat >ring.py <<'PYTHON'
from collections import Counter

from tooz.hashring import HashRing


def share(ring):
    return dict(sorted(Counter(min(ring.get_nodes(b"object %d" % number)) for number in range(1000)).items()))


def story(title, weights):
    ring = HashRing(["other"])
    for weight in weights:
        ring.add_node("changed", weight)
    print(f"{title}: {share(ring)}")
    ring.remove_node("changed")
    print(f"    removed; nodes: {sorted(ring.nodes)}; {share(ring)}")


story("weight 1", [1])
story("weight 3, then 1", [3, 1])
PYTHON
env/bin/python ring.py | tee seen
diff seen - <<'SEEN'
weight 1: {'changed': 404, 'other': 596}
    removed; nodes: ['other']; {'other': 1000}
weight 3, then 1: {'changed': 780, 'other': 220}
    removed; nodes: ['other']; {'changed': 671, 'other': 329}
SEEN
