"""minios's switch-to-configuration does what NixOS's does: users, jobs, and what breaks in the middle of a switch.
docs/nixos.md has the facts."""

from harness import Expr
from labproc import wait_until
from standin import each, h1, hosts, lab, unit  # noqa: F401


# --- users -----------------------------------------------------------------------------------------------------

AS_PLAIN = "setpriv --reuid plain --regid plain --clear-groups env XDG_RUNTIME_DIR=/run/user/$(id -u plain) systemctl --user"


def test_users_units_are_switched_too_and_their_activation_runs(h1):
    def users(mark):
        return {"mine": unit(service=[f"Environment=A={mark}"])}
    one, two = h1.make(a={"userUnits": users(1)},
                       b={"userUnits": users(2), "userActivation": "echo $(id -un) > $XDG_RUNTIME_DIR/activated"})
    assert "reloading user units for plain...\n" in h1.ok(one)
    assert h1.sh(f"{AS_PLAIN} is-active mine") == "active"      # as default.target was started again
    said = h1.ok(two)
    assert "stopping the following user units: mine.service\n" in said
    assert "starting the following user units: mine.service\n" in said
    assert h1.sh("cat /run/user/$(id -u plain)/activated") == "plain"
    assert h1.sh(f"{AS_PLAIN} is-active mine") == "active"


def test_a_failing_user_is_exit_4_and_2024_ignores_it(h1):
    one, two, old = h1.make(a={"fault": Expr("minios.faults.userUnitFails.before")}, b={"fault": "userUnitFails"},
                            old={"fault": "userUnitFails", "age": "2024"})
    h1.ok(one)
    code, said = h1.switch(two)
    assert code == 4 and "Failed to start user unit mine.service\n" in said
    assert "warning: user activation for plain failed\n" in said
    h1.switch(one)
    assert "reloading user units for plain...\n" in h1.ok(old)


def test_a_users_failing_activation_is_no_failure(h1):
    new, = h1.make(a={"fault": "userActivationFails"})
    assert "user activation for plain failed" not in h1.ok(new)


def test_without_logind_units_are_stopped_and_not_started(h1):
    one, two = h1.make(a={"units": {"u": unit(service=["Environment=A=1"])}}, b={"units": {"u": unit(service=["Environment=A=2"])}})
    h1.ok(one)
    h1.sh("systemctl mask --runtime -q systemd-logind dbus-org.freedesktop.login1; systemctl stop systemd-logind")
    try:
        code, said = h1.switch(two)
    finally:
        h1.sh("systemctl unmask --runtime -q systemd-logind dbus-org.freedesktop.login1; systemctl start systemd-logind")
    assert code == 11 and "Unable to list users with logind" in said
    assert h1.state("u") == "inactive" and h1.lists() == ["start-list"]
    # The next run of another system goes on with it.
    assert "starting the following units: u.service\n" in h1.ok(one)
    assert h1.state("u") == "active" and h1.lists() == []


# --- jobs ------------------------------------------------------------------------------------------------------

def test_sysinit_reactivation_is_restarted_and_missing_is_exit_4(each):
    assert "restarting sysinit-reactivation.target\n" in each.ok(each.factory)
    new, = each.make(a={"fault": "noSysinitReactivation"})
    code, said = each.switch(new)
    assert code == 4 and "Failed to restart sysinit-reactivation.target: Unit sysinit-reactivation.target not found" in said


def test_jobs_that_fail_are_named_without_a_failed_unit(each):
    names = ("reloadFails", "mountBusy", "depFails")
    before = " // ".join(f"minios.faults.{name}.before.units" for name in names)
    after = " // ".join(f"minios.faults.{name}.units" for name in names)
    one, two = each.make(a={"fault": Expr(f"{{ units = {before}; }}")}, b={"fault": Expr(f"{{ units = {after}; }}")})
    each.ok(one)
    code, said = each.switch(two)
    assert code == 4
    for line in ("Failed to reload unreloadable.service", "Failed to stop run-busy.mount", "Failed to start app.service"):
        assert f"{line}\n" in said, said
    assert "warning: the following units failed: broken.service\n" in said
    assert each.state("unreloadable run-busy.mount app").split() == ["active", "active", "inactive"]
    each.sh("systemctl stop holder")


def test_a_job_that_times_out_is_named(each):
    new, = each.make(a={"units": {"slow": unit(type="oneshot", service=["TimeoutStartSec=500ms"])}})
    each.sh("mkdir -p /run/nixos; echo slow.service > /run/nixos/start-list")
    code, said = each.switch(new)
    assert code == 4 and "Failed to start slow.service\n" in said


def test_a_reload_of_what_is_not_loaded_is_exit_1_in_the_middle_and_stays_on_the_list(h1):
    new, = h1.make(a={"units": {"u": unit()}})
    h1.sh("mkdir -p /run/nixos; echo nowhere.service > /run/nixos/reload-list")
    code, said = h1.switch(new)
    assert code == 1 and "Failed to get unit nowhere.service" in said
    assert h1.sh("readlink /run/current-system") == new
    assert h1.state("u") == "inactive"
    # minios.target was to be started, and this is known too.
    assert h1.lists() == ["reload-list", "start-list"]
    assert h1.switch(h1.factory)[0] == 1


def test_a_reload_of_what_is_not_active_is_a_start(h1):
    units = {"base": unit(service=["Environment=A=1"]), "on": unit("Requires=base.service", service=["ExecReload=/bin/true"])}
    more = {"base": unit(service=["Environment=A=2"]),
            "on": unit("Requires=base.service", "X-Reload-Triggers=2", service=["ExecReload=/bin/true"])}
    one, two = h1.make(a={"units": units}, b={"units": more})
    h1.ok(one)
    said = h1.ok(two)
    assert "reloading the following units" not in said
    assert "starting the following units: base.service, on.service\n" in said
    assert h1.state("on") == "active"
    # The list stays behind, with nothing on it.
    assert h1.lists() == ["reload-list"] and h1.sh("cat /run/nixos/reload-list") == ""


def test_a_bus_that_is_lost_is_exit_1_there_and_the_lists_stay(each):
    one, two = each.make(a={"fault": Expr("minios.faults.stopsBus.before")}, b={"fault": "stopsBus"})
    each.ok(one)
    code, said = each.switch(two)
    assert code == 1 and "activating the configuration" not in said, said
    assert each.lists() == ["start-list"]
    assert each.sh("readlink /run/current-system") == one
    wait_until("bus", lambda: each.sh("systemctl is-active dbus", check=False) == "active", 20, 0.2)
    each.sh("systemctl restart systemd-logind")     # which doesn't get over a bus that was away, on Debian 13


def test_a_bus_that_is_lost_hangs_2024s(h1):
    one, two = h1.make(a={"fault": Expr("minios.faults.stopsBus.before")}, b={"fault": "stopsBus", "age": "2024"})
    h1.ok(one)
    h1.sh(f"systemd-run -q --unit=hangs {two}/bin/switch-to-configuration test")
    processes = "cat /sys/fs/cgroup/system.slice/hangs.service/cgroup.procs | xargs -I% cat /proc/%/cmdline | tr '\\0' ' '"
    wait_until("2024's hangs", lambda: "sleep 60" in h1.sh(processes, check=False), 30, 0.2)
    assert h1.lists() == ["start-list"] and h1.sh("readlink /run/current-system") == one
    h1.sh("systemctl kill -s KILL hangs; systemctl reset-failed hangs", check=False)


def test_what_was_broken_off_is_gone_on_with_by_the_next_run_of_any_system(h1):
    one, two = h1.make(a={"units": {"u": unit(service=["Environment=A=1"])}},
                       b={"units": {"u": unit(service=["Environment=A=2"])}, "fault": "hangsInActivation"})
    h1.ok(one)
    h1.sh(f"systemd-run -q --unit=broken-off {two}/bin/switch-to-configuration test")
    wait_until("activation", lambda: "activating" in h1.sh("journalctl -q -o cat -u broken-off"), 20, 0.2)
    assert h1.lists() == ["start-list"]
    h1.sh("systemctl kill -s KILL broken-off; systemctl reset-failed broken-off", check=False)
    wait_until("lock", lambda: h1.sh("flock -n /run/nixos/switch-to-configuration.lock echo free", check=False) == "free", 20, 0.2)
    assert h1.state("u") == "inactive"
    assert "starting the following units: u.service\n" in h1.ok(one)
    assert h1.state("u") == "active" and h1.lists() == []


def test_units_that_fail_a_moment_later_are_seen(each):
    flaps, slow = each.make(a={"fault": "unitFlaps"}, b={"units": {"slow": unit(type="oneshot", **{"exec": "sleep 3; exit 1"})}})
    code, said = each.switch(flaps)
    assert code == 4 and "warning: the following units failed: flapping.service\n" in said
    each.ok(each.factory)
    # Its job runs on while nobody waits for it by name.
    each.sh("true")
    code, said = each.switch(slow)
    assert code == 4 and "warning: the following units failed: slow.service\n" in said
