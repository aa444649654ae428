"""Debian: packages and root file systems from a suite, without changing this machine's own package lists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import anyio

from kindasync.build._workshop import Here, OnLine
from kindasync.errors import BuildFailed

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Suites of Debian's own archive. Older ones are not on its mirrors any more.
_SUITES = {"stable", "oldstable", "testing", "unstable", "sid", "bullseye", "bookworm", "trixie", "forky", "duke"}
# Documentation is left out, but for licences.
DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/bash-completion/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
_EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}


def mirror(sources_lists: Sequence[Path] | None = None) -> str | None:
    """The Debian mirror that this machine's own package sources name; None if it has none (then mmdebstrap's default serves).

    Read from `.list` and `.sources` files. An archive is taken for a mirror if it is at `…/debian` by http, has the component
    main of a Debian suite, and no signing key of somebody else: then it holds all suites. Source: sources.list(5).
    """
    etc = Path("/etc/apt")
    paths = sources_lists or [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for entry in (entry for path in paths if path.is_file() for entry in _entries(path)):
        uris, suites, components, signed_by = (entry.get(name, "") for name in ("uris", "suites", "components", "signed-by"))
        if "main" in components.split() and _SUITES & set(suites.split()) and (not signed_by or "debian-archive" in signed_by):
            for uri in uris.split():
                if urlsplit(uri).scheme in ("http", "https") and uri.rstrip("/").endswith("/debian"):
                    return uri
    return None


async def _default_mirror(step: str, suite: str) -> str:
    """The mirror that mmdebstrap takes where none is named: it is asked, and stopped before it fetches anything. Raises: BuildFailed."""
    if not shutil.which("mmdebstrap"):
        raise BuildFailed(
            step, "this machine's package sources name no Debian mirror", "", hint="apt-get install mmdebstrap, which knows one"
        )
    argv = ["mmdebstrap", "--quiet", "--variant=custom", '--setup-hook=cat "$1/etc/apt/sources.list"; exit 1', suite, os.devnull]
    output = (await anyio.run_process(argv, check=False, stderr=subprocess.STDOUT)).stdout.decode(errors="replace")
    found = re.search(r"(?m)^deb .*?(https?://\S+)", output)
    if not found:
        raise BuildFailed(step, "mmdebstrap names no Debian mirror", output)
    return found[1]


def _entries(path: Path) -> Iterator[Mapping[str, str]]:
    """The enabled binary archives that a file of package sources names, as deb822 fields, whichever of the two forms it has."""
    text = re.sub(r"(?m)^[ \t]*#.*\n?", "", path.read_text(errors="replace"))
    if path.suffix == ".sources":
        for paragraph in re.split(r"\n\s*\n", text):
            fields = {name.lower(): value for name, value in re.findall(r"(?m)^([\w-]+):(.*(?:\n[ \t].*)*)", paragraph)}
            if "deb" in fields.get("types", "").split() and fields.get("enabled", "").strip() != "no":
                yield fields
    elif path.suffix == ".list":
        for options, uri, suite, components in re.findall(r"(?m)^[ \t]*deb[ \t]+(?:\[(.*?)\][ \t]+)?(\S+)[ \t]+(\S+)(.*)$", text):
            signed_by = re.findall(r"signed-by=(\S+)", options, re.IGNORECASE)
            yield {"uris": uri, "suites": suite, "components": components, "signed-by": " ".join(signed_by)}


def mmdebstrap_argv(suite: str, packages: Sequence[str], out: str, *, architecture: str, hook: str, mirror_uri: str | None) -> list[str]:
    """The command that makes a minimal installed system as a tar file; `hook` is a shell command that gets its root as $1."""
    argv = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--architectures={architecture}",
        f"--include={','.join(packages)}",
        '--aptopt=Apt::Install-Recommends "false"',
        "--skip=output/dev",
        *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
        f"--customize-hook={hook}",
    ]
    if KEYRING.exists():
        argv.append(f"--keyring={KEYRING}")
    argv += [suite, out]
    return argv + ([mirror_uri] if mirror_uri else [])


async def make_root(suite: str, packages: Sequence[str], out: Path, *, architecture: str, hook: str, on_line: OnLine) -> None:
    """Make a root file system as the tar file `out`. Raises: BuildFailed."""
    argv = mmdebstrap_argv(suite, packages, "{out}/root.tar", architecture=architecture, hook=hook, mirror_uri=mirror())
    with TemporaryDirectory(dir=out.parent, prefix=out.name) as scratch:
        await Here(Path(), Path(scratch)).run("make a Debian root file system", argv, env=_EPOCH, on_line=on_line)
        os.replace(f"{scratch}/root.tar", out)


async def unpack_packages(suite: str, packages: Sequence[str], into: Path, *, on_line: OnLine) -> None:
    """Download packages of a suite, without what they depend on, and unpack them below `into`; nothing is installed.

    apt works with lists and a cache of its own, and takes only what the archive's key has signed.
    Raises: BuildFailed, also on a machine that lacks that key, or knows no mirror.
    """
    step = f"get packages of Debian {suite}"
    if not await anyio.Path(KEYRING).exists():
        raise BuildFailed(step, f"there is no {KEYRING}", "", hint="apt-get install debian-archive-keyring")
    apt = into / "apt"
    for directory in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / directory).mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror() or await _default_mirror(step, suite)} {suite} main\n")
    (apt / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{apt}/sources.list";\nDir::Etc::sourceparts "-";\n'
        f'Dir::State::lists "{apt}/lists";\nDir::Cache "{apt}/cache";\nAPT::Sandbox::User "root";\n'
    )
    workshop = Here(Path(), apt / "debs")
    env = {"APT_CONFIG": str(apt / "apt.conf")}
    await workshop.run(step, ["apt-get", "update", "-qq"], env=env, on_line=on_line)
    script = 'cd "$1" && shift && apt-get download -qq "$@"'
    await workshop.run(step, ["sh", "-c", script, "sh", "{out}", *packages], env=env, on_line=on_line)
    for deb in sorted((apt / "debs").glob("*.deb")):
        await workshop.run(step, ["dpkg-deb", "-x", str(deb), str(into)], env={}, on_line=on_line)
    shutil.rmtree(apt)
