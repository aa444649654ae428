"""The stub of kindasync.sync: what type checkers know of it, from the source of the asynchronous API.

`python -m tests.sync_stub` writes it; a test sees that it has been.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import kindasync

PATH = Path(kindasync.__file__).parent / "sync.pyi"
CLASSES = {"Node": "kindasync.node._node", "Cluster": "kindasync.cluster._cluster"}
WITHOUT = {"client", "connection", "readiness"}
_KEPT = ("classmethod", "staticmethod", "property", "overload")


class _Signature(ast.NodeTransformer):
    """A member's signature, blocking: without its body and the values of its defaults."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        if any(isinstance(name, ast.Name) and name.id == "asynccontextmanager" for name in node.decorator_list):
            assert isinstance(node.returns, ast.Subscript)
            node.returns.value = ast.Name("AbstractAsyncContextManager")
        blocking = ast.FunctionDef(name=node.name, args=node.args, body=node.body, decorator_list=node.decorator_list, returns=node.returns)
        return self.visit_FunctionDef(blocking)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [name for name in node.decorator_list if isinstance(name, ast.Name) and name.id in _KEPT]
        node.body = [ast.Expr(ast.Constant(...))]
        node.args.defaults = [ast.Constant(...) for _ in node.args.defaults]
        node.args.kw_defaults = [default and ast.Constant(...) for default in node.args.kw_defaults]
        node.returns = node.returns and _Result().visit(node.returns)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """A field of a frozen dataclass can be read."""
        assert isinstance(node.target, ast.Name)
        return self.generic_visit(_parsed(f"@property\ndef {node.target.id}(self) -> {ast.unparse(node.annotation)}: ..."))

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Attribute(ast.Name("builtins"), "list") if node.id == "list" else node  # Cluster has one of that name


class _Result(ast.NodeTransformer):
    """What a function returns, blocking."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        match node:
            case ast.Subscript(value=ast.Name(id="Coroutine"), slice=ast.Tuple(elts=[_, _, result])):
                return result
            case ast.Subscript(value=ast.Name(id="AsyncGenerator"), slice=ast.Tuple(elts=[item, _])):
                return ast.Subscript(ast.Name("Iterator"), item)
            case ast.Subscript(value=ast.Name(id="AsyncIterator"), slice=item):
                return ast.Subscript(ast.Name("Iterator"), item)
            case ast.Subscript(value=ast.Name(id="AbstractAsyncContextManager"), slice=item):
                return ast.Subscript(ast.Name("AbstractContextManager"), item)
        return node


def stub() -> str:
    """The text, not formatted."""
    classes = [_class(name, module) for name, module in CLASSES.items()]
    used = {node.id for each in classes for node in ast.walk(each) if isinstance(node, ast.Name)} - CLASSES.keys()
    imports = {name: home for module in CLASSES.values() for name, home in _imports(module) if name in used}
    lines = [f"from {home} import {name}" for name, home in imports.items()]
    head = [
        "import builtins",
        "from collections.abc import Iterator",
        "from contextlib import AbstractContextManager",
        *lines,
        "from kindasync import cluster, node",
    ]
    return "\n".join([*head, *(ast.unparse(ast.fix_missing_locations(each)) for each in classes), '__all__ = ["Cluster", "Node"]', ""])


def _class(name: str, module: str) -> ast.ClassDef:
    (found,) = [node for node in _tree(module).body if isinstance(node, ast.ClassDef) and node.name == name]
    overloaded = {_name(node) for node in found.body if _is_overload(node)}
    members = [
        node
        for node in found.body
        if not _name(node).startswith("_") and _name(node) not in WITHOUT and (_is_overload(node) or _name(node) not in overloaded)
    ]
    handle = f"@property\ndef asynchronous(self) -> {name.lower()}.{name}: ..."
    return ast.ClassDef(name=name, bases=[], keywords=[], decorator_list=[], body=[_parsed(handle), *map(_Signature().visit, members)])


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Where a module has its names from; those of its own are to be imported from it."""
    for node in ast.walk(_tree(module)):
        match node:
            case ast.ImportFrom(module=str(home)):
                yield from ((alias.name, home) for alias in node.names)
    for node in _tree(module).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.ClassDef(name=name):
                yield name, module


def _is_overload(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(isinstance(name, ast.Name) and name.id == "overload" for name in node.decorator_list)


def _name(node: ast.stmt) -> str:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return "_"


def _tree(module: str) -> ast.Module:
    return ast.parse(Path(str(import_module(module).__file__)).read_text())


def _parsed(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


if __name__ == "__main__":
    PATH.write_text(f"# Made by python -m {__spec__.name}.\n{stub()}")
    for command in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, str(PATH)], check=True)
