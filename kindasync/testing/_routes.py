"""Routes: each Engine operation that kindasync uses, answered from the fake's state."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from kindasync.testing import _files, _first_process
from kindasync.testing._images import full, imported
from kindasync.testing._nodes import Behaviour, program_of
from kindasync.testing._programs import ProgramResult
from kindasync.testing._protocol import Answer, Received, frame
from kindasync.testing._refused import Refused
from kindasync.testing._state import FakeContainer, FakeNetwork, State, has_labels

_STREAM = "application/vnd.docker.multiplexed-stream"
_RAW_STREAM = "application/vnd.docker.raw-stream"

Handler = Callable[["Routes", Received, str], Answer]
_ROUTES: list[tuple[str, re.Pattern[str], str, Handler]] = []


def _route(operation: str, method: str, path: str) -> Callable[[Handler], Handler]:
    """Register the handler of an operation; `*` in the path is the object's name or ID."""

    def register(handler: Handler) -> Handler:
        _ROUTES.append((method, re.compile(path.replace("*", "(.+?)") + "$"), operation, handler))
        return handler

    return register


def find(method: str, path: str) -> tuple[str, Handler, str] | None:
    """Operation, handler and object of a request; None if the fake has no such operation."""
    for route_method, pattern, operation, handler in _ROUTES:
        match = pattern.match(path)
        if route_method == method and match:
            return operation, handler, unquote(match.group(1)) if match.groups() else ""
    return None


class Routes:
    """The handlers, on one state."""

    def __init__(self, state: State, behaviour: Behaviour) -> None:
        self._state = state
        self._behaviour = behaviour

    # -- system

    @_route("SystemPing", "GET", "/_ping")
    def _ping(self, request: Received, _: str) -> Answer:
        return Answer(body=b"OK")

    @_route("SystemInfo", "GET", "/info")
    def _info(self, request: Received, _: str) -> Answer:
        running = sum(container.running for container in self._state.containers.values())
        own = {"ID": self._state.engine_id, "ContainersRunning": running}
        return Answer.of_json(self._state.profile.info_document() | own)

    @_route("SystemEvents", "GET", "/events")
    def _events(self, request: Received, _: str) -> Answer:
        since = request.param("since")
        floor = int(float(since) * 10**9) if since else None
        begin = 0 if floor is not None else len(self._state.events)

        async def stream() -> AsyncGenerator[bytes, None]:
            position = begin
            while True:
                while position < len(self._state.events):
                    event = self._state.events[position]
                    position += 1
                    if (floor is None or event["timeNano"] >= floor) and has_labels(event["Actor"]["Attributes"], request.filters):
                        yield json.dumps(event).encode() + b"\n"
                await self._state.event_added.wait()

        return Answer(stream=stream(), headers={"Content-Type": "application/json"})

    # -- containers

    @_route("ContainerCreate", "POST", "/containers/create")
    def _container_create(self, request: Received, _: str) -> Answer:
        container = self._state.create(request.param("name"), request.json)
        return Answer.of_json({"Id": container.id, "Warnings": []}, 201)

    @_route("ContainerList", "GET", "/containers/json")
    def _container_list(self, request: Received, _: str) -> Answer:
        everything = request.param("all") in ("1", "true")
        return Answer.of_json([self._listed(container) for container in self._state.matching(request.filters, everything=everything)])

    @_route("ContainerInspect", "GET", "/containers/*/json")
    def _container_inspect(self, request: Received, name: str) -> Answer:
        return Answer.of_json(self._inspected(self._state.container(name)))

    @_route("ContainerStart", "POST", "/containers/*/start")
    def _container_start(self, request: Received, name: str) -> Answer:
        started = _first_process.start(self._state, self._state.container(name), self._behaviour)
        return Answer(status=204 if started else 304)

    @_route("ContainerStop", "POST", "/containers/*/stop")
    def _container_stop(self, request: Received, name: str) -> Answer:
        stopped = _first_process.stop(self._state, self._state.container(name), self._behaviour)
        return Answer(status=204 if stopped else 304)

    @_route("ContainerRestart", "POST", "/containers/*/restart")
    def _container_restart(self, request: Received, name: str) -> Answer:
        _first_process.restart(self._state, self._state.container(name), self._behaviour)
        return Answer(status=204)

    @_route("ContainerKill", "POST", "/containers/*/kill")
    def _container_kill(self, request: Received, name: str) -> Answer:
        container = self._state.container(name)
        if not container.running:
            raise Refused(409, f"cannot kill container: {name}: container {container.id} is not running")
        _first_process.kill(self._state, container, request.param("signal", "SIGKILL"), self._behaviour)
        return Answer(status=204)

    @_route("ContainerPause", "POST", "/containers/*/pause")
    def _container_pause(self, request: Received, name: str) -> Answer:
        self._state.pause(self._state.container(name))
        return Answer(status=204)

    @_route("ContainerUnpause", "POST", "/containers/*/unpause")
    def _container_unpause(self, request: Received, name: str) -> Answer:
        self._state.unpause(self._state.container(name))
        return Answer(status=204)

    @_route("ContainerWait", "POST", "/containers/*/wait")
    def _container_wait(self, request: Received, name: str) -> Answer:
        container = self._state.container(name)
        condition, ends = request.param("condition", "not-running"), container.ends
        if condition not in ("not-running", "next-exit", "removed"):
            raise Refused(400, f'invalid condition: "{condition}"')

        def goes_on() -> bool:
            return {"not-running": container.running, "next-exit": container.ends == ends, "removed": not container.removed}[condition]

        async def stream() -> AsyncGenerator[bytes, None]:
            watcher = container.watch()
            while goes_on():
                await watcher.wait()
                watcher.clear()
            container.unwatch(watcher)
            yield json.dumps({"StatusCode": container.exit_code}).encode()

        return Answer(stream=stream(), headers={"Content-Type": "application/json"})

    @_route("ContainerDelete", "DELETE", "/containers/*")
    def _container_delete(self, request: Received, name: str) -> Answer:
        container = self._state.container(name)
        if container.running and request.param("force") not in ("1", "true"):
            raise Refused(409, f"cannot remove container {name}: container is running: stop the container before removing or force remove")
        self._state.remove(container, with_volumes=request.param("v") in ("1", "true"))
        return Answer(status=204)

    @_route("ContainerLogs", "GET", "/containers/*/logs")
    def _container_logs(self, request: Received, name: str) -> Answer:
        container = self._state.container(name)
        tty = container.tty
        follow = request.param("follow") in ("1", "true")
        tail = request.param("tail", "all")

        async def stream() -> AsyncGenerator[bytes, None]:
            watcher = container.watch()
            position = 0
            if tail != "all":
                lines = bytes(container.log).splitlines(keepends=True)
                position = len(container.log) - sum(map(len, lines[len(lines) - int(tail) :]))
            try:
                while True:
                    new = bytes(container.log[position:])
                    position += len(new)
                    if new:
                        yield new if tty else frame(1, new)
                    if not follow or (not container.running and position == len(container.log)):
                        return
                    await watcher.wait()
                    watcher.clear()
            finally:
                container.unwatch(watcher)

        kind = _RAW_STREAM if tty else _STREAM
        return Answer(stream=stream(), headers={"Content-Type": kind} if self._state.profile.sends_stream_type else {})

    @_route("ContainerExport", "GET", "/containers/*/export")
    def _container_export(self, request: Received, name: str) -> Answer:
        return Answer(body=_files.pack(self._state.container(name), "/"))

    @_route("ContainerArchiveInfo", "HEAD", "/containers/*/archive")
    def _container_archive_info(self, request: Received, name: str) -> Answer:
        stat = _files.stat(self._state.container(name), request.param("path"))
        return Answer(headers={"X-Docker-Container-Path-Stat": base64.b64encode(json.dumps(stat).encode()).decode()})

    @_route("GetContainerArchive", "GET", "/containers/*/archive")
    def _get_archive(self, request: Received, name: str) -> Answer:
        tar = _files.pack(self._state.container(name), request.param("path"))
        return Answer(body=tar, headers={"Content-Type": "application/x-tar"})

    @_route("PutContainerArchive", "PUT", "/containers/*/archive")
    def _put_archive(self, request: Received, name: str) -> Answer:
        _files.unpack(self._state.container(name), request.param("path"), request.body)
        return Answer()

    # -- execs

    @_route("ContainerExec", "POST", "/containers/*/exec")
    def _exec_create(self, request: Received, name: str) -> Answer:
        container = self._state.container(name)
        if not container.running:
            raise Refused(409, f"container {container.id} is not running")
        if container.paused:
            raise Refused(409, f"Container {container.id} is paused, unpause the container before exec")
        exec_id = f"{len(self._state.execs):064x}"
        environment = dict(item.split("=", 1) for item in request.json.get("Env") or [])
        self._state.execs[exec_id] = {
            "container": container,
            "argv": request.json["Cmd"],
            "stdin": bool(request.json.get("AttachStdin")),
            "tty": bool(request.json.get("Tty")),
            "size": (0, 0),
            "env": {**container.env, **environment},
            "working_dir": request.json.get("WorkingDir") or "/",
            "running": False,
            "code": None,
        }
        return Answer.of_json({"Id": exec_id}, 201)

    @_route("ExecStart", "POST", "/exec/*/start")
    def _exec_start(self, request: Received, exec_id: str) -> Answer:
        execution = self._exec(exec_id)
        upgraded = request.headers.get("upgrade") == "tcp"
        if execution["stdin"] and not upgraded:
            raise Refused(400, "the fake gives stdin to upgraded connections only")
        if request.json.get("Detach"):
            result = self._run(execution, b"")
            execution["code"] = result.exit_code
            if result.exit_code == self._state.profile.program_missing:
                raise Refused(400, result.stdout.decode().rstrip())
            return Answer()
        headers = {"Content-Type": _STREAM if self._state.profile.sends_stream_type else _RAW_STREAM}
        if upgraded:
            return Answer(status=101, hijack=True, headers=headers, stream=None)
        return Answer(stream=self.exec_output(exec_id, b""), headers=headers)

    def has_terminal(self, exec_id: str) -> bool:
        """Whether the program of an exec has a terminal."""
        return bool(self._exec(exec_id)["tty"])

    async def exec_output(self, exec_id: str, stdin: bytes) -> AsyncGenerator[bytes, None]:
        """Run the program of an exec, and give its output in frames."""
        execution = self._exec(exec_id)
        container: FakeContainer = execution["container"]
        execution["running"] = True
        result = self._run(execution, stdin)
        for stream, data in ((1, result.stdout), (2, result.stderr)):
            if data:
                yield data if execution["tty"] else frame(stream, data)
        watcher = container.watch()
        while result.hangs and container.running:
            await watcher.wait()
            watcher.clear()
        container.unwatch(watcher)
        execution["running"], execution["code"] = False, 137 if result.hangs else result.exit_code

    def _run(self, execution: dict[str, Any], stdin: bytes) -> ProgramResult:
        argv = execution["argv"]
        program = program_of(argv, self._behaviour)
        if program:
            return program(execution["container"], argv, stdin)
        if argv[0] == "env":
            return ProgramResult(stdout="".join(f"{name}={value}\n" for name, value in execution["env"].items()).encode())
        if argv == ["stty", "size"]:
            return ProgramResult(stdout="{} {}\r\n".format(*execution["size"]).encode())
        if argv[0] == "pwd":
            return ProgramResult(stdout=f"{execution['working_dir']}\n".encode())
        why = f'exec: "{argv[0]}": executable file not found in $PATH'
        text = f"OCI runtime exec failed: exec failed: unable to start container process: {why}: unknown\r\n"
        return ProgramResult(exit_code=self._state.profile.program_missing, stdout=text.encode())

    @_route("ExecResize", "POST", "/exec/*/resize")
    def _exec_resize(self, request: Received, exec_id: str) -> Answer:
        self._exec(exec_id)["size"] = (int(request.param("h")), int(request.param("w")))
        return Answer()

    @_route("ExecInspect", "GET", "/exec/*/json")
    def _exec_inspect(self, request: Received, exec_id: str) -> Answer:
        execution = self._exec(exec_id)
        return Answer.of_json(
            {"ID": exec_id, "Running": execution["running"], "ExitCode": execution["code"], "ContainerID": execution["container"].id}
        )

    def _exec(self, exec_id: str) -> dict[str, Any]:
        if exec_id not in self._state.execs:
            raise Refused(404, f"No such exec instance: {exec_id}")
        return self._state.execs[exec_id]

    # -- images

    @_route("ImageCreate", "POST", "/images/create")
    def _image_create(self, request: Received, _: str) -> Answer:
        if request.param("fromSrc"):
            reference = f"{request.param('repo')}:{request.param('tag', 'latest')}"
            image = imported(reference, request.body).changed(request.params.get("changes", []))
            self._state.images.put(reference, image)
            return Answer.of_json({"status": image.id})
        tag = request.param("tag") or "latest"
        name = request.param("fromImage")
        reference = full(f"{name}@{tag}" if tag.startswith("sha256:") else f"{name}:{tag}")
        pulled = next((image for each, image in self._state.registry.items() if full(each) == reference), None)
        if not pulled:
            raise Refused(404, f"pull access denied for {name}, repository does not exist or may require 'docker login'")

        async def stream() -> AsyncGenerator[bytes, None]:
            size = len(pulled.content)
            yield _line({"status": f"Pulling from {name}", "id": tag})
            for current in (size // 2, size):
                yield _line({"status": "Downloading", "progressDetail": {"current": current, "total": size}, "id": "abc123"})
            self._state.images.put(reference, pulled)
            yield _line({"status": f"Status: Downloaded newer image for {reference}"})

        return Answer(stream=stream(), headers={"Content-Type": "application/json"})

    @_route("ImagePush", "POST", "/images/*/push")
    def _image_push(self, request: Received, name: str) -> Answer:
        reference = f"{name}:{request.param('tag')}"
        try:
            self._state.registry[reference] = self._state.images.find(reference)
        except Refused:
            return _failed_stream(f"An image does not exist locally with the tag: {name}")
        line = _line({"status": f"{request.param('tag')}: digest: sha256:0 size: 1"})
        return Answer(body=line, headers={"Content-Type": "application/json"})

    @_route("ImageLoad", "POST", "/images/load")
    def _image_load(self, request: Received, _: str) -> Answer:
        try:
            references = self._state.images.load(request.body)
        except Refused as refused:
            return _failed_stream(refused.message)
        size = len(request.body)
        progress = _line({"status": "Loading layer", "progressDetail": {"current": size, "total": size}, "id": "2edf1ba0d028"})
        loaded = [_line({"stream": f"Loaded image: {reference}\n"}) for reference in references]
        return Answer(body=progress + b"".join(loaded), headers={"Content-Type": "application/json"})

    @_route("ImageGetAll", "GET", "/images/get")
    def _image_get(self, request: Received, _: str) -> Answer:
        return Answer(body=self._state.images.save(request.params.get("names", [])), headers={"Content-Type": "application/x-tar"})

    @_route("ImageList", "GET", "/images/json")
    def _image_list(self, request: Received, _: str) -> Answer:
        found = self._state.images.matching((request.filters.get("reference") or [""])[0])
        return Answer.of_json(
            [
                {
                    "Id": image.id,
                    "RepoTags": self._state.images.tags_of(image),
                    "Labels": image.labels or None,
                    "Created": image.created_s,
                    "Size": len(image.content),
                }
                for image in found
                if has_labels(image.labels, request.filters)
            ]
        )

    @_route("ImageInspect", "GET", "/images/*/json")
    def _image_inspect(self, request: Received, reference: str) -> Answer:
        image = self._state.images.find(reference)
        environment = [f"{name}={value}" for name, value in image.env.items()]
        return Answer.of_json(
            {
                "Id": image.id,
                "RepoTags": self._state.images.tags_of(image),
                "RepoDigests": [],
                "Architecture": image.architecture,
                "Os": "linux",
                "Size": len(image.content),
                "Created": image.created,
                "Config": {"Labels": image.labels or None, "Env": environment, "StopSignal": image.stop_signal},
            }
        )

    @_route("ImageTag", "POST", "/images/*/tag")
    def _image_tag(self, request: Received, reference: str) -> Answer:
        image, name = self._state.images.find(reference), request.param("repo")
        if name != name.lower():
            raise Refused(400, f"invalid reference format: repository name ({name}) must be lowercase")
        self._state.images.put(f"{name}:{request.param('tag')}", image)
        return Answer(status=201)

    @_route("ImageDelete", "DELETE", "/images/*")
    def _image_delete(self, request: Received, reference: str) -> Answer:
        force = request.param("force") in ("1", "true")
        self._state.images.remove(reference, self._state.containers.values(), force=force)
        return Answer.of_json([{"Untagged": reference}])

    @_route("ImageCommit", "POST", "/commit")
    def _image_commit(self, request: Received, _: str) -> Answer:
        container = self._state.container(request.param("container"))
        reference = f"{request.param('repo')}:{request.param('tag')}"
        committed = replace(
            container.image,
            reference=reference,
            labels=container.labels,
            env=container.env,
            files=dict(container.files),
            links=dict(container.links),
            created="2026-01-02T00:00:00Z",
            config=b"",
            layers=(),
        ).changed(request.params.get("changes", []))
        self._state.images.put(reference, committed)
        return Answer.of_json({"Id": committed.id}, 201)

    # -- networks

    @_route("NetworkCreate", "POST", "/networks/create")
    def _network_create(self, request: Received, _: str) -> Answer:
        return Answer.of_json({"Id": self._state.create_network(request.json).id, "Warning": ""}, 201)

    @_route("NetworkList", "GET", "/networks")
    def _network_list(self, request: Received, _: str) -> Answer:
        names = request.filters.get("name") or [""]
        found = [network for network in self._state.networks.values() if has_labels(network.labels, request.filters)]
        return Answer.of_json([self._network(network) for network in found if any(name in network.name for name in names)])

    @_route("NetworkInspect", "GET", "/networks/*")
    def _network_inspect(self, request: Received, name: str) -> Answer:
        return Answer.of_json(self._network(self._state.network(name)))

    @_route("NetworkDelete", "DELETE", "/networks/*")
    def _network_delete(self, request: Received, name: str) -> Answer:
        self._state.remove_network(self._state.network(name))
        return Answer(status=204)

    @_route("NetworkConnect", "POST", "/networks/*/connect")
    def _network_connect(self, request: Received, name: str) -> Answer:
        container = self._state.container(request.json["Container"])
        self._state.connect(self._state.network(name), container, request.json.get("EndpointConfig") or {})
        return Answer()

    @_route("NetworkDisconnect", "POST", "/networks/*/disconnect")
    def _network_disconnect(self, request: Received, name: str) -> Answer:
        self._state.disconnect(self._state.network(name), self._state.container(request.json["Container"]))
        return Answer()

    # -- volumes

    @_route("VolumeCreate", "POST", "/volumes/create")
    def _volume_create(self, request: Received, _: str) -> Answer:
        self._state.volumes.setdefault(request.json["Name"], request.json.get("Labels") or {})
        return Answer.of_json({"Name": request.json["Name"]}, 201)

    @_route("VolumeList", "GET", "/volumes")
    def _volume_list(self, request: Received, _: str) -> Answer:
        found = [
            {"Name": name, "Labels": labels or None} for name, labels in self._state.volumes.items() if has_labels(labels, request.filters)
        ]
        return Answer.of_json({"Volumes": found, "Warnings": None})

    @_route("VolumeDelete", "DELETE", "/volumes/*")
    def _volume_delete(self, request: Received, name: str) -> Answer:
        if name not in self._state.volumes:
            raise Refused(404, f"get {name}: no such volume")
        users = self._state.users_of_volume(name)
        if users:
            raise Refused(409, f"remove {name}: volume is in use - [{', '.join(container.id for container in users)}]")
        del self._state.volumes[name]
        return Answer(status=204)

    # -- documents

    def _network(self, network: FakeNetwork) -> dict[str, Any]:
        attached = {container.id: {"Name": container.name} for container in self._state.attached(network)}
        return {
            "Id": network.id,
            "Name": network.name,
            "Driver": "bridge",
            "Created": network.created,
            "EnableIPv6": network.enable_ipv6,
            "IPAM": {"Config": network.subnets},
            "Labels": network.labels,
            "Options": network.options,
            "Containers": attached,
        }

    def _networks_of(self, container: FakeContainer) -> dict[str, Any]:
        if not container.connected:
            return {}
        name = next(
            (network.name for network in self._state.networks.values() if container.network in (network.id, network.name)),
            container.network,
        )
        return {
            name: {
                "NetworkID": container.network_id,
                "IPAddress": container.address,
                "IPAMConfig": container.asked_addresses or None,
                "Gateway": "172.30.0.1" if container.address else "",
                "GlobalIPv6Address": container.ipv6_address,
                "Aliases": container.endpoint.get("Aliases"),
            }
        }

    def _mounts(self, container: FakeContainer) -> list[dict[str, Any]]:
        binds = [bind.split(":") for bind in container.host_config.get("Binds") or [] if bind.startswith("/")]
        mounts: list[dict[str, Any]] = [{"Type": "bind", "Source": source, "Destination": target} for source, target, *_ in binds]
        mounts += [
            {"Type": "bind", "Source": each["Source"], "Destination": each["Target"]} for each in container.host_config.get("Mounts") or []
        ]
        volumes: dict[str, str] = container.body.get("_volumes") or {}
        return mounts + [
            {"Type": "volume", "Name": name, "Source": f"/volumes/{name}", "Destination": path} for path, name in volumes.items()
        ]

    def _listed(self, container: FakeContainer) -> dict[str, Any]:
        ports = [
            {"PrivatePort": int(key.split("/")[0]), "Type": key.split("/")[1], "PublicPort": port, "IP": _host_ip(container, key)}
            for key, port in (container.body.get("_published") or {}).items()
            if container.running and container.connected
        ]
        return {
            "Id": container.id,
            "Names": [f"/{container.name}"],
            "Image": container.body["Image"],
            "Labels": container.labels,
            "State": "paused" if container.paused else container.state,
            "Created": int(container.created),
            "Ports": ports,
            "NetworkSettings": {"Networks": self._networks_of(container)},
            "Mounts": self._mounts(container),
        }

    def _inspected(self, container: FakeContainer) -> dict[str, Any]:
        published = container.body.get("_published") or {}
        ports = (
            {key: [{"HostIp": _host_ip(container, key), "HostPort": str(port)}] for key, port in published.items()}
            if container.running and container.connected
            else {}
        )
        return {
            "Id": container.id,
            "Name": f"/{container.name}",
            "Created": "2026-01-01T00:00:00Z",
            "Mounts": self._mounts(container),
            "State": {
                "Status": "paused" if container.paused else container.state,
                "Running": container.running,
                "ExitCode": container.exit_code,
                "OOMKilled": container.oom_killed,
                "Error": container.error,
                "Pid": 4711 if container.running else 0,
            },
            "Config": {
                "Image": container.body["Image"],
                "Labels": container.labels,
                "Tty": container.tty,
                "Env": container.body.get("Env") or [],
            },
            "HostConfig": container.host_config,
            "NetworkSettings": {"Ports": ports, "Networks": self._networks_of(container)},
        }


def _host_ip(container: FakeContainer, key: str) -> str:
    bindings = (container.host_config.get("PortBindings") or {}).get(key) or [{}]
    return str(bindings[0].get("HostIp") or "0.0.0.0")


def _line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\r\n"


def _failed_stream(message: str) -> Answer:
    """A failure after a status of 200."""
    line = _line({"errorDetail": {"message": message}, "error": message})
    return Answer(body=line, headers={"Content-Type": "application/json"})
