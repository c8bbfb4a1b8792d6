"""minios's switch-to-configuration does what NixOS's does: what it refuses, which units it takes for changed, and what
becomes of them. docs/nixos.md has the facts."""

import subprocess

import pytest

from labproc import wait_until
from standin import each, h1, hosts, lab, text, unit  # noqa: F401


# --- where things lie ------------------------------------------------------------------------------------------

def test_units_lie_in_the_closure_by_way_of_etc_static(h1):
    assert h1.sh("readlink /etc/systemd/system") == "/etc/static/systemd/system"
    assert h1.sh("readlink /etc/static") == h1.sh(f"readlink -f {h1.factory}/etc")
    assert h1.sh("systemctl show -P FragmentPath minios.target") == "/etc/systemd/system/minios.target"
    with pytest.raises(Exception, match="Read-only"):
        h1.sh("touch /etc/systemd/system/mine.service")
    assert h1.state("ssh.service lab-network.service nix-daemon.socket").split() == ["active"] * 3


def test_etc_static_moves_early_and_the_current_system_at_the_very_end(h1):
    new, = h1.make(a={"activation": "(readlink /etc/static; readlink /run/current-system) > /run/seen"})
    h1.ok(new)
    assert h1.sh("cat /run/seen").split() == [h1.sh(f"readlink -f {new}/etc"), h1.factory]
    assert h1.sh("readlink /run/current-system") == new


def test_a_reboot_forgets_the_units_of_what_was_only_tested(h1):
    new, = h1.make(a={"units": {"u": unit()}, "fstab": "tmpfs /run/more tmpfs size=1m 0 0\n"})
    h1.ok(new)
    assert h1.state("u run-more.mount").split() == ["active", "active"]
    h1.lab.reboot(h1.host)
    assert h1.sh("readlink /etc/static") == h1.sh(f"readlink -f {h1.factory}/etc")
    assert h1.sh("systemctl show -P LoadState u.service run-more.mount").split() == ["not-found", "not-found"]


# --- refusals --------------------------------------------------------------------------------------------------

def hold_lock(host):
    held = host.lab.popen("ssh", host.host, "flock /run/nixos/switch-to-configuration.lock sh -c 'echo held; cat'",
                          stdin=subprocess.PIPE)
    assert held.stdout.readline() == "held\n"
    return held


def test_a_held_lock_is_exit_11_at_once_and_2024_waits_for_it(h1):
    old, = h1.make(a={"age": "2024"})
    held = hold_lock(h1)
    assert h1.switch(h1.factory) == (11, "Could not acquire lock\n")
    h1.sh(f"systemd-run -q --unit=waits -p RemainAfterExit=yes {old}/bin/switch-to-configuration test")
    wait_until("2024's waits", lambda: "flock" in h1.sh("cat /sys/fs/cgroup/system.slice/waits.service/cgroup.procs | "
                                                        "xargs -n1 -I% cat /proc/%/comm", check=False), 20, 0.2)
    assert h1.sh("readlink /run/current-system") == h1.factory
    held.communicate(timeout=20)
    wait_until("2024's switched", lambda: h1.sh("readlink /run/current-system") == old, 30, 0.2)
    wait_until("2024's ended", lambda: h1.sh("systemctl show -P SubState waits") == "exited", 30, 0.2)
    h1.sh("systemctl stop waits")


def test_what_is_no_nixos_ends_by_errno(h1):
    h1.sh("rm /etc/NIXOS")
    assert h1.switch(h1.factory) == (2, "This is not a NixOS installation!\n")


def test_refusals_before_anything(h1):
    check, old_check, old = h1.make(check={"fault": "checkFails"}, oldcheck={"fault": "checkFails", "age": "2024"},
                                    old={"age": "2024"})
    assert h1.switch(check) == (1, "check: not on this host\nPre-switch checks failed\n")
    assert h1.switch(old_check)[0] == 22
    assert h1.switch(check, "check", "NIXOS_NO_CHECK=1") == (0, "")
    h1.sh("touch /boot/minios/fail")
    failed = "boot loader: /boot/minios/fail is there\nFailed to install bootloader\n"
    assert h1.switch(h1.factory, "switch") == (1, failed)
    assert h1.switch(old, "switch") == (17, failed)
    assert h1.sh("readlink /run/current-system") == h1.factory and h1.lists() == []


def test_another_init_interface_is_exit_100_in_a_dry_run_too(h1):
    new, = h1.make(a={"fault": "initInterfaceChanges"})
    for action in ("test", "dry-activate"):
        code, said = h1.switch(new, action)
        assert code == 100 and "until you reboot" in said


# --- which units, and what is a change -------------------------------------------------------------------------

def test_active_units_are_looked_at_and_inactive_ones_left_alone(h1):
    def units(mark):
        changed = [f"Environment=MARK={mark}"]
        return {"by-hand": unit(service=changed, wanted=False), "idle": unit(service=changed, wanted=False),
                "runs": unit(service=changed)}
    one, two = h1.make(a={"units": units("1")}, b={"units": units("2")})
    assert "new units were started: runs.service" in h1.ok(one)
    h1.sh("systemctl start by-hand")
    said = h1.ok(two)
    assert "stopping the following units: by-hand.service, runs.service\n" in said
    assert "starting the following units: by-hand.service, runs.service\n" in said
    assert h1.state("by-hand idle runs").split() == ["active", "inactive", "active"]
    assert h1.lists() == []


def test_units_from_elsewhere_are_never_touched(h1):
    h1.sh("systemd-run -q --unit=elsewhere sleep 1000")
    one, two = h1.make(a={"units": {"elsewhere2": unit()}}, b={"units": {"elsewhere": unit(wanted=False)}})
    before = h1.pid("elsewhere")
    h1.ok(one)
    h1.ok(two)
    h1.ok(h1.factory)
    assert h1.pid("elsewhere") == before
    h1.sh("systemctl stop elsewhere")


# What is different in the second release, and what must become of the unit.
CHANGES = {
    "nothing": ((), (), "same"),
    "description": (("Documentation=man:x(1)",), (), "same"),
    "unit-trigger": (("X-Restart-Triggers=2",), (), "stopped"),
    "reload-trigger": (("X-Reload-Triggers=2",), (), "reloaded"),
    "exec-reload": ((), ("ExecReload=/bin/true again",), "reloaded"),
    "environment": ((), ("Environment=A=2",), "stopped"),
    "both": (("X-Reload-Triggers=2",), ("Environment=A=2",), "stopped"),
    "keeps": ((), ("Environment=A=2", "X-RestartIfChanged=false"), "kept"),
    "restarts": ((), ("Environment=A=2", "X-StopIfChanged=false"), "restarted"),
    "reloads": ((), ("Environment=A=2", "X-ReloadIfChanged=true", "X-RestartIfChanged=false"), "reloaded"),
    "refuses": (("RefuseManualStop=true",), ("Environment=A=2",), "kept"),
    "by-hand-only": (("X-OnlyManualStart=true",), ("Environment=A=2",), "kept"),
}


def test_units_are_compared_by_sections_and_keys(h1):
    def units(which):
        made = {}
        for name, (more, service, _) in CHANGES.items():
            reload_line = [] if any("ExecReload" in line for line in service) and which == 2 else ["ExecReload=/bin/true"]
            made[f"c-{name}"] = unit(*(more if which == 2 else ()),
                                     service=[*reload_line, *(service if which == 2 else ())])
        return made
    seen = "for u in %s; do systemctl is-active c-$u; done > /run/seen || true" % " ".join(CHANGES)
    one, two = h1.make(a={"units": units(1)}, b={"units": units(2), "activation": seen})
    h1.ok(one)
    before = {name: h1.pid(f"c-{name}") for name in CHANGES}
    said = h1.ok(two)

    def told(start):
        lines = [line for line in said.splitlines() if line.startswith(start)]
        return {name[2:-len(".service")] for line in lines for name in line.split(": ")[1].split(", ")}

    def expected(*fates):
        return {name for name, (_, _, fate) in CHANGES.items() if fate in fates}
    assert told("stopping the following units") == told("starting the following units") == expected("stopped")
    assert told("restarting the following units") == expected("restarted")
    assert told("reloading the following units") == expected("reloaded")
    assert told("NOT restarting the following changed units") == expected("kept")
    active_in_activation = dict(zip(CHANGES, h1.sh("cat /run/seen").split()))
    assert {name for name, state in active_in_activation.items() if state == "inactive"} == expected("stopped")
    assert {name for name in CHANGES if h1.pid(f"c-{name}") != before[name]} == expected("stopped", "restarted")


def test_removed_and_masked_units_are_stopped_but_those_that_want_to_stay(h1):
    stay = unit("X-StopOnRemoval=false")
    one, two = h1.make(a={"units": {"goes": unit(), "masked": unit(), "stays": stay}},
                       b={"units": {"masked": {"masked": True}}})
    h1.ok(one)
    assert "stopping the following units: goes.service, masked.service\n" in h1.ok(two)
    assert h1.state("goes masked stays").split() == ["inactive", "inactive", "active"]
    h1.sh("systemctl stop stays")


def test_templates_and_drop_ins(h1):
    def units(mark, keeps):
        made = {"t@": unit(service=["Environment=A=0"]),
                "whole": {**unit(), "dropIn": f"[Service]\nEnvironment=A={mark}\n"},
                "t@changed.service": {"onlyDropIn": True, "dropIn": f"[Service]\nEnvironment=A={mark}\n"}}
        if keeps:
            made["t@gone.service"] = {"onlyDropIn": True, "dropIn": "[Service]\nEnvironment=A=1\n"}
        return made
    one, two = h1.make(a={"units": units(1, True)}, b={"units": units(2, False)})
    h1.ok(one)
    h1.sh("systemctl start t@manual")
    said = h1.ok(two)
    assert "stopping the following units: t@changed.service, t@gone.service, whole.service\n" in said
    assert "starting the following units: t@changed.service, whole.service\n" in said
    assert h1.state("t@changed t@gone t@manual whole").split() == ["active", "inactive", "active", "active"]
    h1.sh("systemctl stop t@manual")


def test_sockets_of_a_changed_service_are_started_instead_of_it(h1):
    def units(mark):
        socket = text("[Socket]", "ListenStream=/run/%p.socket")
        service = [f"Environment=A={mark}"]
        return {"by.socket": socket, "by": unit(service=service, wanted=False),
                "own.socket": socket, "own": unit(service=[*service, "X-NotSocketActivated=true"], wanted=False)}
    one, two = h1.make(a={"units": units(1)}, b={"units": units(2)})
    h1.ok(one)
    h1.sh("systemctl start by own")
    said = h1.ok(two)
    assert "stopping the following units: by.service, by.socket, own.service, own.socket\n" in said
    assert "starting the following units: by.socket, own.service, own.socket\n" in said
    assert h1.state("by.service by.socket own.service own.socket").split() == ["inactive", "active", "active", "active"]


def test_kinds_of_units(h1):
    def units(mark):
        return {"k.socket": text("[Unit]", f"X-A={mark}", "[Socket]", "ListenStream=/run/k.socket"),
                "k": unit(wanted=False),
                "p.path": text("[Unit]", f"X-A={mark}", "[Path]", "PathExists=/run/never", "Unit=k.service"),
                "run-opt.mount": text("[Mount]", "What=tmpfs", "Where=/run/opt", "Type=tmpfs", f"Options=size={mark}m"),
                "run-new.mount": text("[Unit]", f"X-A={mark}", "[Mount]", "What=tmpfs", "Where=/run/new", "Type=tmpfs"),
                "t.timer": text("[Unit]", f"X-A={mark}", "[Timer]", "OnCalendar=yearly", "Unit=k.service"),
                "again.target": text("[Unit]", f"X-A={mark}", "Wants=late.service" if mark == 2 else ""),
                "late": unit(wanted=False),
                "stops.target": text("[Unit]", "X-StopOnReconfiguration=true")}
    one, two = h1.make(a={"units": units(1)}, b={"units": units(2)})
    h1.ok(one)
    again = "systemctl show -P InvocationID stops.target again.target"
    before = h1.sh(again).split()
    said = h1.ok(two)
    after = h1.sh(again).split()
    assert before[0] != after[0] and before[1] == after[1]
    assert "stopping the following units" not in said
    assert "restarting the following units: run-new.mount, t.timer\n" in said
    assert "reloading the following units: run-opt.mount\n" in said
    assert "\nstarting the following units" not in said     # targets aren't named
    assert "the following new units were started: late.service\n" in said
    assert "size=2048k" in h1.sh("grep /run/opt /proc/mounts")
    assert h1.state("k.socket p.path stops.target late").split() == ["active"] * 4


def test_fstab_is_mounted_changed_and_unmounted(h1):
    one, two = h1.make(
        a={"fstab": "tmpfs /run/f1 tmpfs size=1m 0 0\ntmpfs /run/f2 tmpfs size=1m 0 0\ntmpfs /run/f3 tmpfs size=1m 0 0\n"},
        b={"fstab": "tmpfs /run/f1 tmpfs size=2m 0 0\nother /run/f2 tmpfs size=1m 0 0\n"})
    h1.ok(one)
    assert h1.state("run-f1.mount run-f2.mount run-f3.mount").split() == ["active"] * 3
    said = h1.ok(two)
    assert "stopping the following units: run-f3.mount\n" in said
    assert "reloading the following units: run-f1.mount\n" in said
    assert "restarting the following units: run-f2.mount\n" in said
    mounts = h1.sh("grep /run/f /proc/mounts")
    assert "/run/f1 tmpfs rw,relatime,size=2048k" in mounts and mounts.count("\n") == 1 and "other /run/f2" in mounts


def test_a_mount_that_local_fs_requires_and_that_fails_is_emergency_mode(h1):
    new, = h1.make(a={"fault": "emergency"})
    code, said = h1.switch(new)
    # The bus goes down with the rest: the last question may find nobody any more.
    assert code in (1, 4) and "Failed to start local-fs.target\n" in said
    wait_until("emergency", lambda: h1.state("emergency.target") == "active", 20, 0.2)
    h1.lab.reboot(h1.host)
    assert h1.lab.host_state(h1.host)["failed_units"] == []


def test_a_dry_run_tells_what_it_knows_and_changes_nothing(h1):
    def given(mark, **more):
        return {"systemConf": f"#{mark}", "units": {
            "s": unit(service=[f"Environment=A={mark}"]), "k": unit(service=[f"Environment=A={mark}", "X-RestartIfChanged=false"]),
            "r": unit(service=[f"Environment=A={mark}", "X-StopIfChanged=false"]),
            "l": unit(f"X-Reload-Triggers={mark}", service=["ExecReload=/bin/true"]), **more}}
    one, two = h1.make(a=given(1, gone=unit()), b=given(2, new=unit()))
    h1.ok(one)
    assert h1.switch(two, "dry-activate") == (0, "\n".join([
        "would stop the following units: gone.service, s.service",
        "would NOT stop the following changed units: k.service",
        "would activate the configuration...", "would restart systemd",
        "would reload the following units: l.service", "would restart the following units: r.service",
        "would start the following units: s.service", ""]))
    assert h1.sh("readlink /run/current-system") == one and h1.lists() == []


# --- the activation --------------------------------------------------------------------------------------------

def test_a_failed_activation_is_exit_2_and_a_failed_unit_makes_it_4(each):
    alone, both = each.make(a={"fault": "activationFails", "units": {"u": unit()}},
                            b={"fault": "activationFailsWithFailedUnit"})
    code, said = each.switch(alone)
    assert code == 2 and "activating the configuration...\n" in said and "Failed to run activate script\n" in said
    assert each.state("u") == "active"
    code, said = each.switch(both)
    assert code == 4 and "Failed to run activate script\n" in said
    assert "warning: the following units failed: broken.service\n" in said


def test_a_closure_without_an_activation_script_goes_on(h1):
    new, = h1.make(a={"activates": False})
    h1.ok(new)
    assert h1.sh("readlink /run/current-system") == h1.factory


def test_the_activation_may_ask_for_restarts_and_reloads(h1):
    asks = "printf 'a.service\\nb.service\\n' > /run/nixos/activation-restart-list; echo l.service > /run/nixos/activation-reload-list"
    units = {"a": unit(), "b": unit(wanted=False), "l": unit(service=["ExecReload=/bin/true"])}
    one, two = h1.make(a={"units": units}, b={"units": units, "activation": asks})
    h1.ok(one)
    before = h1.pid("a")
    said = h1.ok(two)
    assert "restarting the following units: a.service\n" in said and "reloading the following units: l.service\n" in said
    assert "starting the following units: b.service\n" in said
    assert h1.pid("a") != before and h1.lists() == []


def test_a_changed_system_conf_has_pid_1_executed_anew(h1):
    new, = h1.make(a={"systemConf": "DefaultEnvironment=STANDIN=1"})
    said = h1.ok(new)
    assert "restarting systemd...\n" in said
    assert "STANDIN=1" in h1.sh("systemctl show -P DefaultEnvironment 2> /dev/null; systemctl show-environment")
