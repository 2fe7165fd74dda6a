#!/usr/bin/env python3
"""Prints what serverpy knows, and each change as it comes: a subscriber of discovery.sock in another language.
usage: subscriber.py RUNTIME_DIR    (the protocol: Sources/Shared/Snapshot/README.md)"""
import json, socket, sys

def fnv(digest, line):
    for byte in line:
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return digest

def show(instance):
    marks = [name for name in ("suspect", "draining") if instance[name]]
    print(instance["service"], instance["url"], instance["status"], *marks, *instance["addresses"], flush=True)

discovery = socket.socket(socket.AF_UNIX)
discovery.connect(sys.argv[1] + "/discovery.sock")
discovery.sendall(b'{"type":"hello","role":"observer","protocol":[1,1]}\n')
instances, version, building, digest, services = {}, None, None, 0, {}
for line in discovery.makefile("rb"):
    message = json.loads(line)
    kind = message["type"]
    if kind == "snapshot" and message["phase"] == "begin":
        building, digest, services = {}, 0xCBF29CE484222325, {}
    elif kind == "snapshot" and building is not None:
        if f"{digest:016x}" != message["digest"]:
            sys.exit("a snapshot that is not whole: connect anew")
        instances, version, building = building, message["number"], None
        print("snapshot", message["epoch"], version, "-", len(instances), "instances", flush=True)
        for instance in instances.values():
            show(instance)
    elif kind == "delta":
        if message["base"] not in (version, message["number"]):
            sys.exit("lines are missing: connect anew")
        version = message["number"]
        for change in message["instances"]:
            instances[change["id"]].update(change)
            show(instances[change["id"]])
    elif kind == "error":
        sys.exit(message["reason"])
    elif building is not None:
        digest = fnv(digest, line)
        if kind == "service":
            services[message["id"]] = message["name"]
        elif kind == "instances":
            for instance in message["instances"]:
                building[instance["id"]] = instance | {"service": services[message["service"]]}
