"""Requests: what creates are asked for, checked before anything is made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from kindasync.cluster._names import CONFIG_LABEL
from kindasync.config import ClusterConfig, load, problems_of
from kindasync.config._rules import length_problems
from kindasync.errors import ConfigInvalid, Problem

if TYPE_CHECKING:
    from kindasync.cluster._run import Hook, Request

AnyConfig = ClusterConfig | Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | bytes | Path
DEFAULT_WAIT_S = 120.0
DEFAULT_POOL = "default"


def request_of(config: AnyConfig | None, name: str | None, **asked: Any) -> Request:
    """The request for one cluster; `asked` are those of `create`. Raises: ConfigInvalid; OSError for a file that cannot be read."""
    checked = _named(config, name)
    if problems := _problems(checked):
        raise ConfigInvalid(problems)
    return _request(checked, **asked)


def requests_of(configs: Iterable[AnyConfig | None], **asked: Any) -> list[Request | ConfigInvalid]:
    """A request for each configuration, or what is wrong with it; a name that an earlier one has is, too."""
    results: list[Request | ConfigInvalid] = []
    first: dict[str | None, int] = {}
    for index, config in enumerate(configs):
        try:
            checked = _named(config, None)
        except ConfigInvalid as error:
            results.append(error)
            continue
        except OSError as error:
            results.append(ConfigInvalid([Problem(path="", message=f"it cannot be read: {error}")]))
            continue
        problems = _problems(checked)
        if first.setdefault(checked.name, index) != index:
            problems.append(Problem(path="name", message=f'"{checked.name}" is that of configuration {first[checked.name]}, too'))
        results.append(ConfigInvalid(problems) if problems else _request(checked, **asked))
    return results


def _named(config: AnyConfig | None, name: str | None) -> ClusterConfig:
    """The configuration, under the name that counts. Raises: ConfigInvalid for what is none; OSError."""
    if not isinstance(name, str | None):
        raise ConfigInvalid([Problem(path="name", message=f"must be text, not {type(name).__name__}: a configuration is given as config=")])
    if config is None:
        config = ClusterConfig()
    if not isinstance(config, ClusterConfig):
        config = load(config, name=name or "")
    return replace(config, name=name or config.name or f"test-{token_hex(4)}")


def _problems(config: ClusterConfig) -> list[Problem]:
    from kindasync.cluster._readable import unreadable

    return [*problems_of(config), *length_problems(config), *unreadable(config)]


def digest(config: ClusterConfig, image: str) -> str:
    """What tells the clusters of one configuration and image from those of another, whatever their names, and how long they are waited for."""
    document = asdict(replace(config, name="", extras=replace(config.extras, wait="")))
    return sha256(json.dumps([document, image], sort_keys=True, default=str).encode()).hexdigest()[:16]


def _request(
    config: ClusterConfig,
    *,
    image: str = "",
    wait_s: float | None = None,
    before_boot: Sequence[Hook] = (),
    retain: bool = False,
    scoped: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Request:
    from kindasync.cluster._preload import preloading
    from kindasync.cluster._run import Request

    extras = config.extras
    return Request(
        config=config,
        image=image,
        wait_s=next(each for each in (wait_s, extras.wait_s, DEFAULT_WAIT_S) if each is not None),
        before_boot=(*([preloading(extras.preload)] if extras.preload else []), *before_boot),
        retain=retain,
        scoped=scoped,
        labels={**(labels or {}), CONFIG_LABEL: digest(config, image)},
    )
