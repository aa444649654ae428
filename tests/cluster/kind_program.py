"""The kind program, from its Go module, for tests and benchmarks beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from platformdirs import user_cache_path

from kindasync.docker import Engine
from kindasync.docker.system import system_info

VERSION = "v0.33.0"


def kind_program() -> Path:
    """The program, built once. Needs Go on PATH."""
    directory = user_cache_path("kindasync") / f"kind-{VERSION}"
    program = directory / "kind"
    if not program.exists():
        go = shutil.which("go")
        if not go:
            raise RuntimeError("kind is built from its Go module, and there is no go on PATH")
        env = {**os.environ, "GOBIN": str(directory), "GOTOOLCHAIN": os.environ.get("GOTOOLCHAIN", "auto"), "CGO_ENABLED": "0"}
        subprocess.run([go, "install", f"sigs.k8s.io/kind@{VERSION}"], check=True, env=env)
    return program


async def kind_config(workers: int = 0) -> str:
    """kind's configuration for this Engine's host: no more than what a cgroup v1 host needs."""
    async with Engine.of(None).connect() as connection:
        cgroup_version = (await system_info(connection)).cgroup_version
    lines = ["kind: Cluster", "apiVersion: kind.x-k8s.io/v1alpha4", "nodes:", "- role: control-plane", *["- role: worker"] * workers]
    if cgroup_version == 1:
        lines += ["kubeadmConfigPatches:", "- |", "  kind: KubeletConfiguration", "  failCgroupV1: false"]
    return "\n".join(lines)
