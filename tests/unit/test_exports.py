"""What the package offers: its public names, that they are documented, and what importing them costs."""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import kindasync
from kindasync.config._schema import descriptions

PUBLIC = [
    kindasync.__name__,
    *sorted(
        module.name
        for module in pkgutil.walk_packages(kindasync.__path__, "kindasync.")
        if not any(part.startswith("_") for part in module.name.split("."))
    ),
]
PACKAGES = [name for name in PUBLIC[1:] if hasattr(import_module(name), "__path__")]
# Imported only by the operation that needs them: together they take half a second.
HEAVY = ("aiohttp", "structlog", "kubernetes_asyncio", "pydantic", "click", "rich", "opentelemetry")


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, as ruff sorts them (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def offered(module: ModuleType) -> set[str]:
    """The public names of a module: constants, and the classes and functions that are the package's own."""
    foreign = {
        name
        for name, value in vars(module).items()
        if inspect.ismodule(value)
        or ((inspect.isclass(value) or inspect.isfunction(value)) and not value.__module__.startswith("kindasync"))
    }
    return {name for name in dir(module) if not name.startswith("_")} - foreign - {"annotations"}


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_a_package_offers(name: str) -> None:
    """No name is forgotten, none is left over, and they are sorted."""
    module = import_module(name)
    names = getattr(module, "__all__", [])

    assert set(names) == offered(module)
    assert names == sorted(names, key=order)


def test_the_public_names() -> None:
    """Those that checks outside the project rely on; each can be had, and `dir` shows them and nothing else."""
    assert kindasync.__all__ == [
        "AlreadyExists",
        "Cluster",
        "ClusterConfig",
        "ClusterNotFound",
        "ConfigInvalid",
        "Engine",
        "KindasyncError",
        "Node",
        "NotReady",
        "__version__",
    ]
    assert dir(kindasync) == sorted(kindasync.__all__)
    for name in kindasync.__all__:
        assert getattr(kindasync, name, None) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Other'"):
        _ = kindasync.Other


def own(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The classes and functions that a module offers."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, value


def undocumented(module: ModuleType) -> Iterator[str]:
    if not module.__doc__:
        yield module.__name__
    for name, value in own(module):
        if not value.__doc__ or value.__doc__.startswith(f"{name}("):  # what a dataclass makes up
            yield f"{module.__name__}.{name}"


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_is_documented(name: str) -> None:
    """Modules, classes and functions."""
    assert [*undocumented(import_module(name))] == []


REFERENCE = [  # the modules that docs/reference is about
    "kindasync",
    "kindasync.cluster",
    "kindasync.cluster.plan",
    "kindasync.config",
    "kindasync.config.patches",
    "kindasync.errors",
    "kindasync.events",
    "kindasync.kubeconfig",
    "kindasync.otel",
    "kindasync.proxy",
    "kindasync.pytest_kind",
    "kindasync.pytest_plugin",
    "kindasync.sync",
    "kindasync.testing",
    "kindasync.versions",
]
FIELDS = descriptions()


def undocumented_members(kind: type) -> Iterator[str]:
    """Methods and properties without docstring; fields that no docstring of the class, and no description of the schema, names."""
    kind = getattr(kind, "_kind", kind)  # what a class of kindasync.sync is made from
    fields = {each.name for each in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    text = " ".join(each.__doc__ or "" for each in kind.__mro__[:-1])
    for name, member in vars(kind).items():
        function = getattr(member, "__func__", member)
        if (
            not name.startswith("_")
            and name not in fields
            and (callable(function) or isinstance(function, property))
            and not function.__doc__
        ):
            yield name
    yield from (name for name in fields if name[0] != "_" and f"`{name}`" not in text and not FIELDS.get(kind, {}).get(name))


@pytest.mark.parametrize("name", REFERENCE)
def test_members_of_what_is_public_are_documented(name: str) -> None:
    """All methods, properties and fields of all classes."""
    kinds = [kind for _, kind in own(import_module(name)) if inspect.isclass(kind)]

    assert {kind.__name__: missing for kind in kinds if (missing := [*undocumented_members(kind)])} == {}


def in_a_fresh_process(*lines: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_type_checkers_of_users_see_the_types() -> None:
    """PEP 561."""
    assert (Path(kindasync.__path__[0]) / "py.typed").exists()


@pytest.mark.parametrize("kind", [kindasync.Cluster, kindasync.Node])
def test_the_types_of_all_methods_are_checked(kind: type) -> None:
    """As users call them: by mypy, in tests/types."""
    example = (Path(__file__).parents[1] / "types/public_api.py").read_text()

    public = {name for name in vars(kind) if not name.startswith("_")} - {"connection", "readiness"}
    assert {name for name in public if f".{name}" not in example} == set()


@pytest.mark.parametrize("statement", ["import kindasync", "from kindasync import Cluster, ClusterConfig, Engine, Node"])
def test_importing_is_cheap(statement: str) -> None:
    """Libraries that take long to import are left to those who use them."""
    assert in_a_fresh_process("import sys", statement, f"print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_only_who_asks_for_a_client_of_kubernetes_asyncio_imports_it() -> None:
    """It is as large as all else that a create imports."""
    package = Path(kindasync.__path__[0])
    importers = [path for path in package.rglob("*.py") if "\nfrom kubernetes_asyncio" in path.read_text()]

    assert importers == [package / "cluster/_client.py"]


@pytest.mark.parametrize("statement", ["import kindasync", "from kindasync import Cluster, ClusterConfig, Engine, Node"])
def test_importing_needs_no_unix(statement: str) -> None:
    """On Windows it can be imported: there an error has to say what to do instead, and none can if the import fails."""
    windows = ["import os, sys", "sys.modules['fcntl'] = sys.modules['pwd'] = None", "del os.getuid"]

    assert in_a_fresh_process(*windows, statement, "print('imported')") == "imported"


def test_importing_does_nothing() -> None:
    """It reads no environment and configures no logging: neither a bad DOCKER_HOST nor a handler is noticed."""
    lines = [
        "import logging, os",
        "os.environ['DOCKER_HOST'] = 'nonsense'",
        "from kindasync import Cluster",
        "print(logging.root.handlers)",
    ]

    assert in_a_fresh_process(*lines) == "[]"
