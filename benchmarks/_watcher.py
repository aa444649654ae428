"""The watcher: sees from outside, in the same way for any program, when a cluster has reached what users wait for."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import ssl
import tarfile
import time
from collections.abc import Callable
from tempfile import NamedTemporaryFile
from typing import Any

import aiohttp
import yaml

POLL_S = 0.05  # with one cluster; with several, each is asked that much more rarely
ANSWER_S = 2.0
USABLE = ("ready", "account", "scheduled")


class Watcher:
    """Watches one cluster come up.

    `marks`, in seconds since `began` (monotonic): `api`: the API server answers; `ready`: all nodes Ready; `account`: the default ServiceAccount
    exists; `scheduled`: a pod that had to be placed was placed; `dns`: the DNS pods are Ready. Usable is what `ready`, `account` and `scheduled` make.
    """

    def __init__(self, engine: aiohttp.ClientSession, cluster: str, nodes: int, *, began: float, poll_s: float) -> None:
        self.marks: dict[str, float] = {}
        self._engine = engine
        self._control_plane = f"{cluster}-control-plane"
        self._cluster = cluster
        self._nodes = nodes
        self._began = began
        self._poll_s = poll_s
        self._server = ""
        self._context: ssl.SSLContext | None = None

    async def usable(self) -> None:
        """Until pods can be placed on all nodes."""
        self._context = _context(await self._admin_conf())
        self._server = await self._address()
        async with self._api() as api, asyncio.TaskGroup() as tasks:
            for name, path, holds in (
                ("api", "/livez", lambda status, _: status > 0),
                ("ready", "/api/v1/nodes", lambda status, body: status == 200 and _all_ready(body, self._nodes)),
                ("account", "/api/v1/namespaces/default/serviceaccounts/default", lambda status, _: status == 200),
                ("scheduled", _DNS, lambda status, body: status == 200 and _any_has(body, "PodScheduled")),
            ):
                tasks.create_task(self._until(api, name, path, holds))

    async def dns(self) -> None:
        """After `usable`: until all DNS pods are Ready."""
        async with self._api() as api:
            await self._until(api, "dns", _DNS, lambda status, body: status == 200 and _all_ready(body, 1))

    def _api(self) -> aiohttp.ClientSession:
        # A balancer may take a connection for which it has no API server yet, and say nothing.
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        return aiohttp.ClientSession(self._server, connector=aiohttp.TCPConnector(ssl=self._context or True), timeout=timeout)

    async def _until(self, api: aiohttp.ClientSession, name: str, path: str, holds: Callable[[int, Any], bool]) -> None:
        while True:
            try:
                async with api.get(path) as reply:
                    body = await reply.json() if "json" in reply.content_type else None
                    if holds(reply.status, body):
                        self.marks[name] = round(time.monotonic() - self._began, 3)
                        return
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(self._poll_s)

    async def _admin_conf(self) -> Any:
        while True:
            async with self._engine.get(f"http://docker/containers/{self._control_plane}/archive?path=/etc/kubernetes/admin.conf") as reply:
                if reply.status == 200:
                    with tarfile.open(fileobj=io.BytesIO(await reply.read())) as tar:
                        file = tar.extractfile("admin.conf")
                        assert file is not None
                        if admin_conf := yaml.safe_load(file.read()):  # else kubeadm is about to write it
                            return admin_conf
            await asyncio.sleep(self._poll_s)

    async def _address(self) -> str:
        names = (f"{self._cluster}-external-load-balancer", self._control_plane)
        while True:
            for name in names:
                async with self._engine.get(f"http://docker/containers/{name}/json") as reply:
                    ports = (await reply.json()).get("NetworkSettings", {}).get("Ports", {}) if reply.status == 200 else {}
                    if ports.get("6443/tcp"):
                        return f"https://127.0.0.1:{ports['6443/tcp'][0]['HostPort']}"
            await asyncio.sleep(self._poll_s)


async def containers(engine: aiohttp.ClientSession, cluster: str) -> list[str]:
    """The IDs of a cluster's containers."""
    filters = json.dumps({"label": [f"io.x-k8s.kind.cluster={cluster}"]})
    async with engine.get("http://docker/containers/json", params={"filters": filters, "all": "true"}) as reply:
        return [container["Id"] for container in await reply.json()]


async def used(engine: aiohttp.ClientSession, ids: list[str]) -> dict[str, float]:
    """What containers have used so far, by their cgroups, summed up.

    Shape: core-seconds; the memory's peaks, page cache and all (absent on cgroup v2, whose peaks the Engine does not tell), and what of it is now processes' own and page cache.
    """
    sums: dict[str, float] = {}
    for container in ids:
        async with engine.get(f"http://docker/containers/{container}/stats?stream=false&one-shot=true") as reply:
            stats = await reply.json()
        memory, parts = stats["memory_stats"], stats["memory_stats"].get("stats", {})
        for name, value in (
            ("cpu_s", stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9),
            ("memory_peak_bytes", memory.get("max_usage")),
            ("memory_own_bytes", parts.get("total_rss", parts.get("anon"))),
            ("memory_cache_bytes", parts.get("total_cache", parts.get("file"))),
        ):
            if value is not None:
                sums[name] = round(sums.get(name, 0) + value, 2)
    return sums


_DNS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"


def _all_ready(body: Any, count: int) -> bool:
    return len(body["items"]) >= count and all(_has(item, "Ready") for item in body["items"])


def _any_has(body: Any, condition: str) -> bool:
    return any(_has(item, condition) for item in body["items"])


def _has(item: Any, condition: str) -> bool:
    return any(each["type"] == condition and each["status"] == "True" for each in item["status"].get("conditions", []))


def _context(admin_conf: Any) -> ssl.SSLContext:
    authority = base64.b64decode(admin_conf["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.check_hostname = False
    user = admin_conf["users"][0]["user"]
    with NamedTemporaryFile() as file:
        file.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        file.flush()
        context.load_cert_chain(file.name)
    return context
