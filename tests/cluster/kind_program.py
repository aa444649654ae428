"""The kind program, from its Go module, for tests and benchmarks beside it."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
from platformdirs import user_cache_path

from kindasync.build import Options, _go
from kindasync.build._build import _cache_dir, plan_of
from kindasync.build._steps import Cache
from kindasync.docker import Engine
from kindasync.docker.system import native_architecture, system_info

VERSION = "v0.33.0"


def kind_program() -> Path:
    """The program, built once, by the Go that builds node images."""
    directory = user_cache_path("kindasync") / f"kind-{VERSION}"
    program = directory / "kind"
    if not program.exists():
        with ThreadPoolExecutor(1) as thread:  # the caller's may run a loop
            go = thread.submit(anyio.run, _go_environment).result()
        env = {**os.environ, **go, "GOBIN": str(directory), "CGO_ENABLED": "0"}
        subprocess.run(["go", "install", f"sigs.k8s.io/kind@{VERSION}"], check=True, env=env)
    return program


async def _go_environment() -> dict[str, str]:
    pins = plan_of(Options(), default_architecture=native_architecture()).pins
    return await _go.environment(Cache(_cache_dir()), pins, on_line=print)


async def kind_config(workers: int = 0) -> str:
    """kind's configuration for this Engine's host: no more than what a cgroup v1 host needs."""
    async with Engine.of(None).connect() as connection:
        cgroup_version = (await system_info(connection)).cgroup_version
    lines = ["kind: Cluster", "apiVersion: kind.x-k8s.io/v1alpha4", "nodes:", "- role: control-plane", *["- role: worker"] * workers]
    if cgroup_version == 1:
        lines += ["kubeadmConfigPatches:", "- |", "  kind: KubeletConfiguration", "  failCgroupV1: false"]
    return "\n".join(lines)
