"""The watcher: sees from outside, in the same way for any program, when a cluster has reached what users wait for."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import resource
import ssl
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from tempfile import NamedTemporaryFile
from typing import Any

import aiohttp
import yaml

POLL_S = 0.05


@dataclass(slots=True, kw_only=True)
class Run:
    """One create, as seen from outside. Seconds since the program was started.

    `api`: the API server answers; `ready`: all nodes Ready; `account`: the default ServiceAccount exists; `scheduled`: a pod
    that had to be placed was placed; `dns`: the DNS pods are Ready; `end`: the program ended. `usable` is what is compared:
    all nodes Ready, and the default ServiceAccount there.
    """

    marks: dict[str, float] = field(default_factory=dict)
    exit_code: int = 0
    client_cpu_s: float = 0.0
    client_peak_bytes: int = 0
    node_cpu_s: float = 0.0

    @property
    def usable(self) -> float:
        return max(self.marks["ready"], self.marks["account"])

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "usable": round(self.usable, 3)}


class Watcher:
    """Watches one cluster come up."""

    def __init__(self, socket: str, cluster: str, nodes: int) -> None:
        self._socket = socket
        self._control_plane = f"{cluster}-control-plane"
        self._cluster = cluster
        self._nodes = nodes

    async def run(self, command: Sequence[str], *, dns: bool = False, timeout_s: float = 300, env: Mapping[str, str] | None = None) -> Run:
        """Start a program that creates the cluster, and watch until it has ended and the cluster is usable (and DNS is ready, if asked for)."""
        run = Run()
        began = time.monotonic()
        connector = aiohttp.UnixConnector(self._socket)
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession(connector=connector) as engine:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}
            )
            before = resource.getrusage(resource.RUSAGE_CHILDREN)

            def mark(name: str) -> None:
                run.marks.setdefault(name, round(time.monotonic() - began, 3))

            async def wait_for_end() -> None:
                _, stderr = await process.communicate()
                mark("end")
                run.exit_code = process.returncode or 0
                if run.exit_code:
                    raise RuntimeError(f"{command[0]} failed:\n{stderr.decode()}")

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(wait_for_end())
                tasks.create_task(self._watch(engine, mark, run, dns=dns))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            run.client_cpu_s = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3)
            run.client_peak_bytes = after.ru_maxrss * 1024
        return run

    async def _watch(self, engine: aiohttp.ClientSession, mark: Callable[[str], None], run: Run, *, dns: bool) -> None:
        admin_conf = await self._admin_conf(engine)
        server, context = await self._server(engine), _context(admin_conf)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as api:

            async def until(name: str, path: str, holds: Callable[[int, Any], bool]) -> None:
                while True:
                    try:
                        async with api.get(server + path) as reply:
                            body = await reply.json() if "json" in reply.content_type else None
                            if holds(reply.status, body):
                                mark(name)
                                return
                    except (aiohttp.ClientError, OSError):
                        pass
                    await asyncio.sleep(POLL_S)

            kube_dns = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns"
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(until("api", "/livez", lambda status, _: status > 0))
                tasks.create_task(until("ready", "/api/v1/nodes", lambda status, body: status == 200 and _all_ready(body, self._nodes)))
                account = "/api/v1/namespaces/default/serviceaccounts/default"
                tasks.create_task(until("account", account, lambda status, _: status == 200))
                tasks.create_task(until("scheduled", kube_dns, lambda status, body: status == 200 and _any_has(body, "PodScheduled")))
            run.node_cpu_s = await self._cpu(engine)
            if dns:
                await until("dns", kube_dns, lambda status, body: status == 200 and _all_ready(body, 1))

    async def _admin_conf(self, engine: aiohttp.ClientSession) -> Any:
        while True:
            async with engine.get(f"http://docker/containers/{self._control_plane}/archive?path=/etc/kubernetes/admin.conf") as reply:
                if reply.status == 200:
                    with tarfile.open(fileobj=io.BytesIO(await reply.read())) as tar:
                        file = tar.extractfile("admin.conf")
                        assert file is not None
                        return yaml.safe_load(file.read())
            await asyncio.sleep(POLL_S)

    async def _server(self, engine: aiohttp.ClientSession) -> str:
        names = (f"{self._cluster}-external-load-balancer", self._control_plane)
        while True:
            for name in names:
                async with engine.get(f"http://docker/containers/{name}/json") as reply:
                    ports = (await reply.json()).get("NetworkSettings", {}).get("Ports", {}) if reply.status == 200 else {}
                    if ports.get("6443/tcp"):
                        return f"https://127.0.0.1:{ports['6443/tcp'][0]['HostPort']}"
            await asyncio.sleep(POLL_S)

    async def _cpu(self, engine: aiohttp.ClientSession) -> float:
        """Core-seconds that the nodes have used so far."""
        filters = json.dumps({"label": [f"io.x-k8s.kind.cluster={self._cluster}"]})
        async with engine.get("http://docker/containers/json", params={"filters": filters}) as reply:
            containers = [container["Id"] for container in await reply.json()]
        total = 0
        for container in containers:
            async with engine.get(f"http://docker/containers/{container}/stats?stream=false&one-shot=true") as reply:
                total += (await reply.json())["cpu_stats"]["cpu_usage"]["total_usage"]
        return round(total / 1e9, 2)


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
