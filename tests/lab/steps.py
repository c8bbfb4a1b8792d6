"""What tests of deployments do again and again."""

import json
import os
import select
import time

FAST = {"minHealthy": "1s", "deadline": "20s"}


def outcomes(events):
    return {e["host_ended"]["host"]: e["host_ended"]["outcome"] for e in events if "host_ended" in e}


def reasons(events):
    return {e["host_ended"]["host"]: e["host_ended"]["reason"] for e in events if "host_ended" in e}


def deploy(lab, flake, *options, timeout=120):
    """(exit code, {host: outcome}, {host: reason})."""
    code, events = lab.flurry_json("deploy", flake, "--yes", *options, timeout=timeout)
    return code, outcomes(events), reasons(events)


def assert_on(lab, host, system):
    """The host runs `system`, would boot it, and its profile names it."""
    state = lab.host_state(host)
    assert (state["current_system"], state["boot_default"], state["profile"]) == (system, system, system), host


class Run:
    """A deployment under way, whose events can be waited for."""

    def __init__(self, lab, *args):
        self.process = lab.start_flurry(*args, "--output", "json")
        self.events, self._rest = [], b""

    def wait_for(self, match, timeout=60):
        """Reads events until one matches."""
        end = time.monotonic() + timeout
        stream = self.process.stdout.fileno()
        while time.monotonic() < end:
            while b"\n" in self._rest:
                line, self._rest = self._rest.split(b"\n", 1)
                self.events.append(json.loads(line))
                if match(self.events[-1]):
                    return self.events[-1]
            if select.select([stream], [], [], 0.5)[0]:
                data = os.read(stream, 65536)
                if not data:
                    break
                self._rest += data
        raise AssertionError(f"the awaited event never came; seen: {self.events[-8:]}")

    def wait_stage(self, host, stage, timeout=60):
        return self.wait_for(lambda e: e.get("host_stage") == {"host": host, "stage": stage}, timeout)

    def wait_stage_of_all(self, hosts, stage, timeout=60):
        left = set(hosts)

        def is_last(event):
            seen = event.get("host_stage", {})
            if seen.get("stage") == stage:
                left.discard(seen["host"])
            return not left

        self.wait_for(is_last, timeout)

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=10)

    def finish(self, timeout=120):
        """(exit code, outcomes, reasons)."""
        self.wait_for(lambda e: "deployment_ended" in e, timeout)
        code = self.process.wait(timeout=30)
        return code, outcomes(self.events), reasons(self.events)


def status(lab, flake, host, timeout=60):
    """The host's own story, as `flurry status` tells it."""
    _, events = lab.flurry_json("status", flake, "--on", host, timeout=timeout)
    return [e["host_status"] for e in events if "host_status" in e][0]


def wait_for_outcome(lab, flake, host, outcome, timeout=90):
    """Asks `flurry status` until the host's last deployment ended so."""
    end = time.monotonic() + timeout
    while True:
        told = status(lab, flake, host)
        if told.get("last", {}).get("outcome") == outcome and not told.get("active"):
            return told
        assert time.monotonic() < end, f"{host} never ended {outcome}: {told}"
        time.sleep(1)
