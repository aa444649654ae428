"""Compile the Go parts of the node image for another architecture, and say what came out: `nox -s arm64`."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from kindasync.build._build import Options, plan_of

ELF_MACHINES = {"amd64": 62, "arm64": 183}


def main(architecture: str, out: Path) -> None:
    """Build kube, containerd, the storage provisioner and the registry; check each file's ELF header."""
    out = out.resolve()  # `build-program` changes its directory
    plan = plan_of(Options(architecture=architecture), default_architecture=architecture)
    for name in ("containerd", "storage", "registry", "kube"):
        began = time.monotonic()
        # pause is C: without a cross compiler here, only its place is checked.
        env = {**os.environ, **plan.program_env, "CC": os.environ.get("CROSS_CC", "true")}
        subprocess.run([plan.sources / "build-program", name, out / name], env=env, check=True)
        programs = [path for path in sorted((out / name).iterdir()) if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
        assert programs, f"{out / name} has no program"
        for path in programs:
            (machine,) = struct.unpack_from("<H", path.read_bytes()[:20], 18)
            assert machine == ELF_MACHINES[architecture], f"{path} is for machine {machine}"
            print(f"{path.name:<28} {architecture} {path.stat().st_size / 1e6:7.1f} MB")
        print(f"{name}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
