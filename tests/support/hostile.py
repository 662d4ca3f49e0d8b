"""What a hostile runner asks for: bodies of containers, and requests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.engines import Engine

from dvc_runner.engine.images import LABEL
from dvc_runner.socket_filter.policy import FILTERED_LABEL, GUARD_LABEL, GUARD_USER, SCRATCH
from dvc_runner.workspace import sandbox

CREATE = "/v1.41/containers/create"
WORDS = "0123456789abcdef0123456789abcdef"
PROOF = f".dvc/tmp/host-path-{WORDS}"
Body = dict[str, Any]


LOCKED_DOWN = {
    "AutoRemove": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "ReadonlyRootfs": True,
    "LogConfig": {"Type": "none"},
}


def good(containers: Engine, ground: Path, mark: str, guard: str) -> Body:
    """A stage's body that passes, beside the guard of that id."""
    user = sandbox.stage_user(ground)
    return {
        "Image": containers.base,
        "Entrypoint": [],
        "Cmd": ["true", mark],
        "Env": ["A=b"],
        "WorkingDir": "/workspace",
        "User": f"{user.uid}:{user.gid}",
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": {LABEL: "run", f"{LABEL}.stage": "one"},
        "HostConfig": {
            **LOCKED_DOWN,
            "NetworkMode": f"container:{guard}",
            "PidMode": f"container:{guard}",
            "Mounts": [
                mount(ground / SCRATCH / "one/workspace", "/workspace", read_only=False),
                mount(ground / "data/raw.csv", "/workspace/data/raw.csv"),
            ],
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},
            "PidsLimit": 100,
            "ShmSize": 2**20,
        },
    }


def good_guard(containers: Engine, ground: Path) -> Body:
    """A guard's body that passes; it runs for an hour, or until it is removed."""
    return {
        "Image": containers.base,
        "Entrypoint": [],
        "Cmd": ["python3", "-I", "-S", "-c", "import time; time.sleep(3600)"],
        "User": GUARD_USER,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "StopSignal": "SIGKILL",
        "Labels": {LABEL: "run", f"{LABEL}.guard-of": "one"},
        "HostConfig": {
            **LOCKED_DOWN,
            "NetworkMode": "none",
            "Mounts": [mount(ground / SCRATCH / "one/control", "/run/dvc-runner")],
        },
    }


def proof(image: str, source: Path) -> Body:
    """A body that passes, of a container that proves a path and is never started."""
    shown = {"Type": "bind", "Source": str(source), "Target": "/proof", "ReadOnly": True}
    return {"Image": image, "Cmd": ["true"], "Labels": {LABEL: "proof"}, "HostConfig": {"Mounts": [shown]}}


def mount(source: Path | str, target: str = "/x", *, read_only: bool = True, **entries: Any) -> Body:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"NonRecursive": True},
        **entries,
    }


def with_host(**entries: Any) -> Callable[[Body, Path], Body]:
    """Give what sets entries of HostConfig."""
    return lambda body, _: {**body, "HostConfig": {**body["HostConfig"], **entries}}


def with_body(**entries: Any) -> Callable[[Body, Path], Body]:
    """Give what sets entries of the body."""
    return lambda body, _: {**body, **entries}


def with_mount(make: Callable[[Path], Body]) -> Callable[[Body, Path], Body]:
    """Give what adds a mount behind those that pass."""

    def change(body: Body, ground: Path) -> Body:
        host = body["HostConfig"]
        return {**body, "HostConfig": {**host, "Mounts": [*host["Mounts"], make(ground)]}}

    return change


def without(*keys: str) -> Callable[[Body, Path], Body]:
    """Give what leaves out an entry of HostConfig."""
    return lambda body, _: {**body, "HostConfig": {k: v for k, v in body["HostConfig"].items() if k not in keys}}


def as_text(change: Callable[[str], str]) -> Callable[[Body, Path], bytes]:
    """Give what changes the body's text."""
    return lambda body, _: change(json.dumps(body)).encode("utf-8", "surrogatepass")


def after(key: str, more: str) -> Callable[[Body, Path], bytes]:
    """Give what writes ``more`` into HostConfig behind the text of ``key``."""
    return as_text(lambda text: text.replace(key, f"{key}, {more}", 1))


BODIES: dict[str, list[Callable[[Body, Path], Body | bytes]]] = {
    "privileged": [with_host(Privileged=True)],
    "not privileged, which is never said": [with_host(Privileged=False)],
    "the host's network": [with_host(NetworkMode="host")],
    "another network": [with_host(NetworkMode="default")],
    "the engine's network, without a guard": [with_host(NetworkMode="bridge")],
    "no network, without a guard": [with_host(NetworkMode="none")],
    "processes of its own": [without("PidMode")],
    "a network without a name": [with_host(NetworkMode="")],
    "a container's network by its name": [with_host(NetworkMode="container:some-name")],
    "the host's processes": [with_host(PidMode="host")],
    "the host's IPC": [with_host(IpcMode="host")],
    "the host's UTS": [with_host(UTSMode="host")],
    "the host's users": [with_host(UsernsMode="host")],
    "the host's cgroups": [with_host(CgroupnsMode="host")],
    "a cgroup of its choice": [with_host(CgroupParent="/")],
    "a device": [with_host(Devices=[{"PathOnHost": "/dev/sda", "PathInContainer": "/d", "CgroupPermissions": "rwm"}])],
    "rules for devices": [with_host(DeviceCgroupRules=["a *:* rwm"])],
    "a GPU": [with_host(DeviceRequests=[{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}])],
    "a capability": [with_host(CapAdd=["SYS_ADMIN"])],
    "one capability kept": [with_host(CapDrop=["CHOWN"])],
    "all capabilities kept": [with_host(CapDrop=[])],
    "no word of capabilities": [without("CapDrop")],
    "new privileges": [with_host(SecurityOpt=[])],
    "no seccomp": [with_host(SecurityOpt=["no-new-privileges", "seccomp=unconfined"])],
    "no AppArmor": [with_host(SecurityOpt=["apparmor=unconfined"])],
    "nothing masked": [with_host(MaskedPaths=[])],
    "nothing read-only": [with_host(ReadonlyPaths=[])],
    "a writable root": [with_host(ReadonlyRootfs=False)],
    "a runtime": [with_host(Runtime="other")],
    "a log driver": [with_host(LogConfig={"Type": "syslog", "Config": {"syslog-address": "tcp://127.0.0.1:1"}})],
    "a log driver's options": [with_host(LogConfig={"Type": "none", "Config": {"a": "b"}})],
    "restarts": [with_host(RestartPolicy={"Name": "always"})],
    "a container that stays": [with_host(AutoRemove=False)],
    "ports": [with_host(PortBindings={"80/tcp": [{"HostPort": "80"}]})],
    "a name in DNS": [with_host(Dns=["192.0.2.1"])],
    "a name that leads elsewhere": [with_host(ExtraHosts=["a:192.0.2.1"])],
    "the host's address as a name": [with_host(ExtraHosts=["a:host-gateway"])],
    "a kernel setting": [with_host(Sysctls={"kernel.msgmax": "1"})],
    "another value of a known setting": [with_host(Sysctls={"net.ipv4.ip_unprivileged_port_start": "1"})],
    "groups": [with_host(GroupAdd=["0"])],
    "links": [with_host(Links=["a:b"])],
    "volumes of another container": [with_host(VolumesFrom=["a"])],
    "binds": [with_host(Binds=["/:/host"])],
    "a volume driver": [with_host(VolumeDriver="local")],
    "ulimits": [with_host(Ulimits=[{"Name": "core", "Hard": -1, "Soft": -1}])],
    "memory below zero": [with_host(Memory=-1)],
    "memory as a boolean": [with_host(Memory=True)],
    "memory as a fraction": [with_host(Memory=1.5)],
    "processes without limit": [with_host(PidsLimit=-1)],
    "the killer of the out-of-memory kept away": [with_host(OomKillDisable=True)],
    "a tmpfs elsewhere": [with_host(Tmpfs={"/etc": "rw"})],
    "a tmpfs with devices": [with_host(Tmpfs={"/tmp": "rw,dev,suid"})],
    "a tmpfs of another size": [with_host(Tmpfs={"/tmp": "rw,exec,nosuid,nodev,mode=1777,size=9g"})],
    "a folder of the image's to work in": [with_body(WorkingDir="/etc")],
    "names of hosts, which are the guard's": [with_host(ExtraHosts=["a:127.0.0.1"])],
    "the guard's setting of the kernel": [with_host(Sysctls={"net.ipv4.ip_unprivileged_port_start": "0"})],
    "an open standard input": [with_body(OpenStdin=True)],
    "the guard's user": [with_body(User=GUARD_USER)],
    "storage options": [with_host(StorageOpt={"size": "1T"})],
    "root": [with_body(User="0:0")],
    "root by another writing": [with_body(User="00:0")],
    "root by name": [with_body(User="root")],
    "nobody in particular": [lambda body, _: {k: v for k, v in body.items() if k != "User"}],
    "the engine's group": [with_body(User="1234:0")],
    "an entry point": [with_body(Entrypoint=["/bin/sh"])],
    "a volume of the image's kind": [with_body(Volumes={"/x": {}})],
    "a health check": [with_body(Healthcheck={"Test": ["CMD", "true"]})],
    "networking": [with_body(NetworkingConfig={"EndpointsConfig": {"bridge": {}}})],
    "ports of the body": [with_body(ExposedPorts={"80/tcp": {}})],
    "a host name": [with_body(Hostname="x")],
    "an image that nobody allowed": [with_body(Image="foreign:latest")],
    "an image by a path": [with_body(Image="../containers/x")],
    "no label of ours": [with_body(Labels={"a": "b"})],
    "no word of what it is": [with_body(Labels={LABEL: "run"})],
    "a stage that would be a guard": [with_body(Labels={LABEL: "run", GUARD_LABEL: "one"})],
    "a stage and a guard": [with_body(Labels={LABEL: "run", GUARD_LABEL: "one", f"{LABEL}.stage": "one"})],
    "labels of another kind": [with_body(Labels={LABEL: "run", "com.docker.compose.project": "x"})],
    "the filter's own label": [with_body(Labels={LABEL: "run", FILTERED_LABEL: "/"})],
    "a label that is no text": [with_body(Labels={LABEL: None})],
    "a foreign folder": [with_mount(lambda ground: mount(ground.parent / "foreign"))],
    "the whole host": [with_mount(lambda _: mount("/"))],
    "the engine's socket": [with_mount(lambda _: mount("/var/run/docker.sock"))],
    "the engine's folder": [with_mount(lambda _: mount("/var/lib/docker"))],
    "a folder whose name begins like the workspace": [with_mount(lambda ground: mount(f"{ground}2"))],
    "a way out by dots": [with_mount(lambda ground: mount(f"{ground}/../foreign"))],
    "a way out and back by dots": [with_mount(lambda ground: mount(f"{ground}/../{ground.name}/data"))],
    "a path with two slashes": [with_mount(lambda ground: mount(f"{ground}//data"))],
    "a path with a slash at its end": [with_mount(lambda ground: mount(f"{ground}/data/"))],
    "a relative path": [with_mount(lambda _: mount("data"))],
    "a path with NUL": [with_mount(lambda ground: mount(f"{ground}/data\0/x"))],
    "half a character in a path": [as_text(lambda text: text.replace("raw.csv", "raw\ud800.csv", 1))],
    "a link that leads out": [with_mount(lambda ground: mount(ground / "out"))],
    "a link that leads to the system": [with_mount(lambda ground: mount(ground / "etc"))],
    "a folder behind a link": [with_mount(lambda ground: mount(ground / "self/etc"))],
    "a link that stays inside": [with_mount(lambda ground: mount(ground / "around/raw.csv"))],
    "a FIFO": [with_mount(lambda ground: mount(ground / "fifo"))],
    "what does not exist": [with_mount(lambda ground: mount(ground / "none"))],
    "the workspace writable": [with_mount(lambda ground: mount(ground, read_only=False))],
    "a dep writable": [with_mount(lambda ground: mount(ground / "data", read_only=False))],
    "the scratch folder itself writable": [with_mount(lambda ground: mount(ground / SCRATCH, read_only=False))],
    "a mount that says nothing of writing": [
        with_mount(lambda g: {k: v for k, v in mount(g / "data").items() if k != "ReadOnly"})
    ],
    "propagation": [with_mount(lambda g: mount(g / "data", BindOptions={"Propagation": "rshared"}))],
    "propagation beside what passes": [
        with_mount(lambda g: mount(g / "data", BindOptions={"NonRecursive": True, "Propagation": "rshared"}))
    ],
    "what is mounted below": [with_mount(lambda g: mount(g / "data", BindOptions={"NonRecursive": False}))],
    "a source that is created": [
        with_mount(lambda g: mount(g / "new", BindOptions={"NonRecursive": True, "CreateMountpoint": True}))
    ],
    "a volume": [with_mount(lambda _: {"Type": "volume", "Source": "x", "Target": "/x", "ReadOnly": True})],
    "a volume with a driver's options": [
        with_mount(
            lambda _: {
                "Type": "volume",
                "Target": "/x",
                "VolumeOptions": {
                    "DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}}
                },
            }
        )
    ],
    "a bind with a volume's options": [with_mount(lambda g: mount(g / "data", VolumeOptions={"NoCopy": True}))],
    "an image as a mount": [with_mount(lambda _: {"Type": "image", "Source": "x", "Target": "/x"})],
    "a tmpfs as a mount": [with_mount(lambda _: {"Type": "tmpfs", "Target": "/etc"})],
    "no mounts at all": [without("Mounts")],
    "a key in capitals": [with_host(PRIVILEGED=True)],
    "a key in small letters": [with_host(privileged=True)],
    "a known key in small letters": [with_host(networkmode="host")],
    "a key with the Kelvin sign": [after('"AutoRemove": true', '"Networ\u212aMode": "host"')],
    "a key with a long s": [after('"AutoRemove": true', '"Device\u017f": []')],
    "an escaped key": [after('"AutoRemove": true', '"\\u0050rivileged": true')],
    "a key twice": [after('"PidsLimit": 100', '"NetworkMode": "host"')],
    "a key twice, once escaped": [after('"PidsLimit": 100', '"\\u004eetworkMode": "host"')],
    "a key twice, the good one last": [
        as_text(lambda text: text.replace('"NetworkMode"', '"NetworkMode": "host", "NetworkMode"', 1))
    ],
    "a key twice, deep inside": [
        as_text(lambda text: text.replace('"Type": "bind"', '"Type": "volume", "Type": "bind"', 1))
    ],
    "HostConfig twice": [as_text(lambda text: text.replace('"HostConfig"', '"HostConfig": {}, "HostConfig"', 1))],
    "HostConfig in small letters beside it": [with_body(hostconfig={"Privileged": True})],
    "a second object behind the first": [as_text(lambda text: text + '{"HostConfig": {"Privileged": true}}')],
    "a text before it": [as_text(lambda text: "\ufeff" + text)],
    "UTF-16": [lambda body, _: json.dumps(body).encode("utf-16")],
    "no UTF-8": [lambda body, _: json.dumps(body).encode().replace(b"A=b", b"A=\xff")],
    "not a number": [as_text(lambda text: text.replace('"AutoRemove": true', '"AutoRemove": NaN', 1))],
    "one for true": [with_host(AutoRemove=1)],
    "a list": [lambda body, _: json.dumps([body]).encode()],
    "nothing": [lambda _, __: b""],
    "nested without end": [lambda _, __: b'{"HostConfig": ' + b"[" * 100_000],
    "a proof that would be a stage": [with_body(Labels={LABEL: "proof"})],
    "a proof of another file": [lambda _, ground: proof("x", ground / "data")],
    "a proof of a file of another name": [lambda _, ground: proof("x", ground / ".dvc/tmp/host-path-xyz")],
    "a proof of a foreign file": [lambda _, ground: proof("x", ground.parent / "foreign" / PROOF)],
    "a proof of nothing": [
        lambda _, __: {"Image": "x", "Cmd": ["true"], "Labels": {LABEL: "proof"}, "HostConfig": {"Mounts": []}}
    ],
}


ID = "0" * 64
PATHS = {
    "exec": [("POST", "/containers/{foreign}/exec")],
    "exec in a container of its own": [("POST", "/containers/{own}/exec")],
    "the start of an exec": [("POST", f"/exec/{ID}/start")],
    "logs": [("GET", "/containers/{own}/logs?stdout=1")],
    "a file of a container's": [("GET", "/containers/{foreign}/archive?path=/etc/passwd")],
    "a file of its own container's": [("GET", "/containers/{own}/archive?path=/etc/passwd")],
    "the proof of a container that proves nothing": [("GET", "/containers/{own}/archive?path=/proof")],
    "the proof of a foreign container": [("GET", "/containers/{foreign}/archive?path=/proof")],
    "a file beside the proof": [("GET", "/containers/{own}/archive?path=/proof/../etc/passwd")],
    "a file put into a container": [("PUT", "/containers/{foreign}/archive?path=/")],
    "all files of a container": [("GET", "/containers/{foreign}/export")],
    "changes of a container": [("GET", "/containers/{foreign}/changes")],
    "processes of a container": [("GET", "/containers/{foreign}/top")],
    "an image of a container": [("POST", "/commit?container={foreign}")],
    "other limits": [("POST", "/containers/{own}/update")],
    "another name": [("POST", "/containers/{own}/rename?name=x")],
    "pruned containers": [("POST", "/containers/prune")],
    "pruned images": [("POST", "/images/prune")],
    "a foreign container inspected": [("GET", "/containers/{foreign}/json")],
    "a foreign container attached to": [("POST", "/containers/{foreign}/attach?stream=1&stdout=1")],
    "a foreign container's end": [("POST", "/containers/{foreign}/wait")],
    "a foreign container started": [("POST", "/containers/{foreign}/start")],
    "a foreign container killed": [("POST", "/containers/{foreign}/kill?signal=SIGKILL")],
    "a foreign container removed": [("DELETE", "/containers/{foreign}?force=True")],
    "a foreign container's use": [("GET", "/containers/{foreign}/stats?stream=False")],
    "a container by a part of its id": [("DELETE", "/containers/{short}?force=True")],
    "a container by its id in capitals": [("DELETE", "/containers/{capitals}?force=True")],
    "what happens to foreign containers": [
        ("GET", '/events?until=1&filters={{"container":["{foreign}"],"event":["oom"]}}')
    ],
    "all that happens": [("GET", "/events")],
    "all that happened": [("GET", "/events?until=1&filters={{}}")],
    "another end of a container": [("POST", "/containers/{own}/wait?condition=removed")],
    "a list by state": [("GET", '/containers/json?filters={{"label":["' + LABEL + '"],"status":["running"]}}')],
    "a build that pulls": [("POST", "/build?t=dvc-runner/one:0&pull=1{label}")],
    "a signal that is none of the runner's": [("POST", "/containers/{own}/kill?signal=SIGSTOP")],
    "a parameter twice": [("POST", "/containers/{own}/kill?signal=SIGTERM&signal=SIGSTOP")],
    "a parameter that nobody knows": [("POST", "/containers/{own}/start?checkpoint=x")],
    "a name for a container": [("POST", "/containers/create?name=x")],
    "swarm": [("POST", "/swarm/init")],
    "services": [("POST", "/services/create")],
    "nodes": [("GET", "/nodes")],
    "secrets of a swarm": [("GET", "/secrets")],
    "configs of a swarm": [("GET", "/configs")],
    "plugins": [("POST", "/plugins/pull?remote=x")],
    "volumes": [("GET", "/volumes")],
    "a volume": [("POST", "/volumes/create")],
    "networks": [("GET", "/networks")],
    "a network": [("POST", "/networks/create")],
    "a container in a network": [("POST", "/networks/bridge/connect")],
    "what takes the disk": [("GET", "/system/df")],
    "a foreign image asked for at its registry": [("GET", "/distribution/foreign/json")],
    "a way to the builder": [("POST", "/session")],
    "another way to the builder": [("POST", "/grpc")],
    "the builder's cache": [("POST", "/build/prune")],
    "credentials": [("POST", "/auth")],
    "a search": [("GET", "/images/search?term=x")],
    "an image's content": [("GET", "/images/{image}/get")],
    "several images' content": [("GET", "/images/get?names={image}")],
    "an image loaded": [("POST", "/images/load")],
    "an image made of a URL": [("POST", "/images/create?fromSrc=http://127.0.0.1:1/x")],
    "an image that is not pinned": [("POST", "/images/create?fromImage=foreign&tag=latest")],
    "an image sent away": [("POST", "/images/{image}/push")],
    "another name for an image": [("POST", "/images/{image}/tag?repo=dvc-runner/one&tag=0")],
    "a name for a foreign image": [("POST", "/images/{image}/tag?repo=foreign")],
    "a foreign image removed": [("DELETE", "/images/{image}?force=False")],
    "a foreign image's history": [("GET", "/images/{image}/history")],
    "a build that is not ours by its name": [("POST", '/build?t=foreign:1&labels={{"' + LABEL + '":"stage"}}')],
    "a build without our label": [("POST", "/build?t=dvc-runner/one:0&labels={{}}")],
    "a build from elsewhere": [("POST", "/build?t=dvc-runner/one:0&remote=http://127.0.0.1:1/x{label}")],
    "a build in the host's network": [("POST", "/build?t=dvc-runner/one:0&networkmode=host{label}")],
    "a build with names": [("POST", "/build?t=dvc-runner/one:0&extrahosts=a:192.0.2.1{label}")],
    "a build in a cgroup": [("POST", "/build?t=dvc-runner/one:0&cgroupparent=/{label}")],
    "a build that writes elsewhere": [("POST", "/build?t=dvc-runner/one:0&outputs=[]{label}")],
    "a build from another's cache": [("POST", '/build?t=dvc-runner/one:0&cachefrom=["x"]{label}')],
    "a build of a file outside": [("POST", "/build?t=dvc-runner/one:0&dockerfile=../x{label}")],
    "a build without a name": [("POST", "/build?{label}")],
    "nothing": [("GET", "/")],
    "another method": [("PATCH", "/_ping")],
    "a path with a dot": [("GET", "/./_ping")],
    "a path with two dots": [("GET", "/containers/../_ping")],
    "a path with two slashes": [("GET", "//_ping")],
    "a slash at the end": [("GET", "/_ping/")],
    "a slash that is escaped": [("GET", "/containers%2Fjson")],
    "dots that are escaped": [("GET", "/containers/%2e%2e/_ping")],
    "letters that are escaped": [("GET", "/%5fping")],
    "a path in capitals": [("GET", "/_PING")],
    "a version that is none": [("GET", "/v1.41/v1.41/_ping")],
    "a whole address": [("GET", "http://localhost/_ping")],
    "a fragment": [("GET", "/_ping#/containers/json")],
    "a semicolon": [("GET", "/containers/json?all=0;all=1")],
    "a query that is broken": [("GET", "/containers/json?all=%ff")],
    "a list with another label": [("GET", '/containers/json?filters={{"label":["x"]}}')],
    "a list by name": [("GET", '/containers/json?filters={{"name":["x"]}}')],
    "a list with a key twice": [("GET", '/containers/json?filters={{"label":[],"label":["x"]}}')],
    "sizes": [("GET", "/containers/json?size=1")],
}
