"""A run on a Ray cluster of two nodes on this machine, one of which is lost half way.

``python tests/support/two_nodes.py N FOLDER NETWORK`` prints what became of it as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def two_nodes(n: int, folder: Path, network: str | None) -> dict[str, Any]:
    """A run on two nodes of which one is killed half way.

    Returns:
        Seconds, how many faces were done when the node was lost, how many nodes were left, and the labels' hash.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import logging

    import ray
    from fergan.workflows.engines.options import EngineOptions
    from fergan.workflows.engines.run import run_all
    from fergan.workflows.run_folder.folder import RunFolder
    from fergan.workflows.steps.generate import GenerateOptions
    from fergan.workflows.steps.judge import ClassifyOptions
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 128 * 2**20}
    soon = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}  # else a loss is seen after 30 s
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": soon, **store}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    other = cluster.add_node(num_cpus=1, **store)
    cluster.wait_for_nodes()
    lost: list[float] = []

    def watch(done: float, total: float) -> None:
        if done >= total / 2 and not lost:
            lost.append(done)
            cluster.remove_node(other, allow_graceful=False)

    began = time.perf_counter()
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        folder_of_run = RunFolder(folder)
        with folder_of_run.lock():
            run_all(
                folder_of_run,
                GenerateOptions(range(n), network=network),
                ClassifyOptions(),
                watch,
                EngineOptions("ray", workers=2, address=cluster.address, pictures="none"),
            )
        ended = time.perf_counter()
        while (left := sum(node["Alive"] for node in ray.nodes())) > 1 and time.perf_counter() - ended < 60:
            time.sleep(0.5)  # a loss is seen some seconds later
    finally:
        ray.shutdown()
        with contextlib.suppress(Exception):  # of a node that is gone already
            cluster.shutdown()
    return {
        "seconds": time.perf_counter() - began,
        "lost_at": lost[0] if lost else None,
        "left": left,
        "sha256": folder_of_run.record.labels.sha256,
    }


if __name__ == "__main__":
    print(json.dumps(two_nodes(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
