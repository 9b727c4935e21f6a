"""Runs llama.cpp's own HTTP server for one GGUF file, and says where it listens.

A process of its own, so that unloading a model gives back every byte of it, and so that a file
that makes llama.cpp crash takes nothing else along.
"""

import argparse
import math
import os
import signal
import sys
from pathlib import Path

import xllamacpp


def cores() -> int:
    """CPUs this container may use, by its cgroup's quota (v2, then v1); at least 1."""
    try:
        quota, _, period = Path("/sys/fs/cgroup/cpu.max").read_text().partition(" ")
    except OSError:
        try:
            folder = Path("/sys/fs/cgroup/cpu")
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        except OSError:
            quota, period = "max", ""
    share = int(quota) / int(period) if quota.strip() not in ("max", "-1") else math.inf
    return max(1, math.ceil(min(share, os.cpu_count() or 1)))


def parameters(path: str, context: int, name: str) -> xllamacpp.CommonParams:
    """One slot, so that the memory it takes is known when it starts."""
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = context
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = cores()
    params.n_threads_http = 4
    # serves chat and completions as well; without it /v1/embeddings answers 501
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # llama.cpp would keep up to 8 GiB of old prompts beside the model
    params.cache_ram_mib = 0
    params.ui = params.endpoint_slots = False
    params.verbosity = 0
    return params


def main() -> None:
    """Writes one line, the address, once the model is loaded. Ends by SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--name", required=True)
    options = parser.parse_args()
    server = xllamacpp.Server(parameters(options.path, options.context, options.name))
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # its threads may be in the middle of a token: nothing of theirs is worth waiting for
    os._exit(0)


if __name__ == "__main__":
    main()
