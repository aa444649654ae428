"""What kubectl's arguments mean when it runs in a node: which local files it needs there, and whether it reads stdin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

# Flags whose values are files of whoever calls; several, with commas between, for the first four.
_FILES = ("-f", "--filename", "-k", "--kustomize", "--from-file", "--from-env-file", "--patch-file", "--cert", "--key")
_LISTS = _FILES[:4]
_KUSTOMIZE = ("-k", "--kustomize")
_MANIFEST_FLAGS = ("-f", "--filename")
_MANIFESTS = (".json", ".yaml", ".yml")
_RECURSIVE = ("-R", "--recursive", "--recursive=true")
_GLUED = re.compile(r"(-[fk])=?(.+)")
_FOLLOWING = "logs"  # where -f is no file
# Of the flags that may stand before the command, those that have no value.
_SWITCHES = ("--disable-compression", "--insecure-skip-tls-verify", "--match-server-version", "--warnings-as-errors")
_LOCAL = {
    "port-forward": "its port would be the node's: extraPortMappings publish a NodePort, and Python has Cluster.port_forward",
    "proxy": "its port would be the node's: the kubeconfig names an address that this machine reaches",
    "cp": "its files would be the node's: use exec with tar, as in kubectl exec POD -- tar -c DIRECTORY",
    "edit": "there is no editor in a node: use get -o yaml, and apply -f -",
}


@dataclass(frozen=True, slots=True)
class Call:
    """Shape: `uploads`, files by their places in the node; `reads`: whether it reads stdin."""

    argv: tuple[str, ...]
    uploads: dict[str, Path]
    reads: bool


def arranged(arguments: Sequence[str], directory: str) -> Call:
    """kubectl's arguments, with files that are here, on this machine, replaced by their place below `directory` in the node.

    A path that is not here may be one of the node's. Raises: UsageError for what is of no use in a node.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    own = list(arguments[:end])
    verb = _verb(own)
    if verb in _LOCAL:
        raise click.UsageError(f"kubectl {verb} cannot run in a node: {_LOCAL[verb]}")
    uploads: dict[str, Path] = {}

    recursive = any(argument in _RECURSIVE for argument in own)
    places: list[str] = []

    def there(flag: str, path: str) -> str:
        here = Path(path)
        if not path or path == "-" or not here.exists():
            return path
        place = f"{directory}/{len(places)}/{here.resolve().name}"
        places.append(place)
        for each in _read_by(flag, here, recursive=recursive):
            uploads[f"{place}/{each.relative_to(here)}" if each != here else place] = each
        return place

    def value(flag: str, text: str) -> str:
        if flag in _LISTS:
            return ",".join(there(flag, path) for path in text.split(","))
        key, equals, path = text.rpartition("=") if flag == "--from-file" else ("", "", text)
        return f"{key}{equals}{there(flag, path)}"

    files = () if verb == _FOLLOWING else _FILES
    argv: list[str] = []
    rest = iter(own)
    for argument in rest:
        flag, equals, text = argument.partition("=")
        glued = _GLUED.fullmatch(argument)
        if argument in files:
            argv += [argument, value(argument, next(rest, ""))]
        elif equals and flag in files:
            argv.append(f"{flag}={value(flag, text)}")
        elif glued and glued[1] in files:
            argv.append(f"{glued[1]}={value(glued[1], glued[2])}")
        else:
            argv.append(argument)
    reads = any(re.fullmatch(r"-|.*=-|-f-|--stdin(=true)?|-(i|it|ti)", argument) for argument in own) or verb == "attach"
    return Call((*argv, *arguments[end:]), uploads, reads)


def _read_by(flag: str, here: Path, *, recursive: bool) -> Iterator[Path]:
    """The files that kubectl would read for a path: all of a kustomization's; of a directory of manifests those that are called so; what is no directory, whatever it is."""
    if not here.is_dir():
        yield here
        return
    for each in here.rglob("*") if recursive or flag in _KUSTOMIZE else here.iterdir():
        if each.is_file() and (each.suffix in _MANIFESTS or flag not in _MANIFEST_FLAGS):
            yield each


def _verb(arguments: Sequence[str]) -> str:
    """kubectl's command; empty: there is none.

    Source: stripFlags of github.com/spf13/cobra, which takes what follows a flag without "=" for its value, if it does not know better.
    """
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            return argument
        if "=" not in argument and argument not in _SWITCHES and (argument.startswith("--") or len(argument) == 2):
            next(rest, "")
    return ""
