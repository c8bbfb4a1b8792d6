"""A flake to eight real hosts: what a user sees and what is then true of the hosts."""

import pytest
from harness import deploy_flake, toplevel
from steps import FAST, assert_on, deploy, status

HOSTS = [f"h{n}" for n in range(1, 9)]
SHORT = {"confirmTimeout": "6s", "activationTimeout": "30s"}


def flake_of(lab, release, hosts=None, **systems):
    """All hosts at `release`, some of them with more arguments."""
    given = {host: {"release": release, "web": True, **systems.get(host, {})} for host in (hosts or HOSTS)}
    health = {**FAST, "checks": {"site": {"http": {"url": "http://localhost/healthz"}}}}
    return deploy_flake(lab.dir, given, health=health, flurry={"defaults": SHORT})


@pytest.fixture(scope="module")
def good(fleet):
    """The fleet at a good release; every test leaves each host at some good one."""
    flake = flake_of(fleet, "good")
    code, ended, why = deploy(fleet, flake)
    assert code == 0, why
    assert ended == {host: "succeeded" for host in HOSTS}
    return {host: fleet.build(toplevel(flake, host)) for host in HOSTS}


def test_a_good_release_is_committed_on_every_host(fleet, good):
    for host in HOSTS:
        assert_on(fleet, host, good[host])


def test_the_same_release_again_is_unchanged_and_touches_nothing(fleet, good):
    before = {host: fleet.host_state(host) for host in HOSTS}
    units = {host: fleet.enter(host, "journalctl -q -o cat -t systemd | grep -c flurry-switch || true") for host in HOSTS}
    code, ended, _ = deploy(fleet, flake_of(fleet, "good"))
    assert code == 0
    assert ended == {host: "unchanged" for host in HOSTS}
    assert {host: fleet.host_state(host) for host in HOSTS} == before
    assert {host: fleet.enter(host, "journalctl -q -o cat -t systemd | grep -c flurry-switch || true")
            for host in HOSTS} == units


@pytest.mark.trap(6, "p6")
def test_a_host_whose_health_check_fails_goes_back_alone(fleet, good):
    flake = flake_of(fleet, "sick-h3", h3={"web": {"status": 500}})
    code, ended, why = deploy(fleet, flake)
    assert code == 4
    assert ended.pop("h3") == "rolled-back"
    assert "500" in why["h3"] and "site" in why["h3"]
    assert set(ended.values()) == {"succeeded"}
    assert_on(fleet, "h3", good["h3"])
    assert_on(fleet, "h1", fleet.build(toplevel(flake, "h1")))


def test_a_host_that_a_release_cuts_off_comes_back_by_itself(fleet, good):
    flake = flake_of(fleet, "cut", hosts=["h2", "h5", "h8"], h2={"fault": "cutsNetwork"}, h5={"fault": "stopsSshd"})
    before = {host: fleet.host_state(host)["current_system"] for host in ("h2", "h5")}
    code, ended, why = deploy(fleet, flake)
    assert code == 4, why
    assert ended == {"h2": "rolled-back", "h5": "rolled-back", "h8": "succeeded"}
    for host, system in before.items():
        assert_on(fleet, host, system)
        assert fleet.ssh(host, "echo alive").strip() == "alive"


@pytest.mark.parametrize("fault, outcome, said", [
    ("activationFails", "rolled-back", "exited with 2"),
    ("unitFails", "rolled-back", "broken.service"),
    ("checkFails", "failed-unchanged", "before it switched anything"),
    pytest.param("initInterfaceChanges", "failed-unchanged", "reboot", marks=pytest.mark.trap(7)),
])
def test_a_switch_that_fails_ends_in_a_true_outcome(fleet, good, fault, outcome, said):
    before = fleet.host_state("h1")["current_system"]
    code, ended, why = deploy(fleet, flake_of(fleet, f"bad-{fault}", hosts=["h1"], h1={"fault": fault}))
    assert ended == {"h1": outcome}
    assert said in why["h1"]
    assert code == {"rolled-back": 4, "failed-unchanged": 3}[outcome]
    assert_on(fleet, "h1", before)


def test_a_switch_that_hangs_is_ended_at_its_deadline_and_undone(fleet, good):
    before = fleet.host_state("h1")["current_system"]
    flake = deploy_flake(fleet.dir, {"h1": {"release": "hangs", "fault": "activationHangs"}}, health=FAST,
                         flurry={"defaults": {"activationTimeout": "5s"}}, name="hangs")
    code, ended, why = deploy(fleet, flake)
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert_on(fleet, "h1", before)


@pytest.mark.trap(1)
def test_a_unit_that_had_failed_before_is_not_held_against_a_release(fleet, good):
    fleet.enter("h4", "systemd-run --unit=old-trouble false; sleep 0.5; systemctl is-failed old-trouble")
    code, ended, why = deploy(fleet, flake_of(fleet, "with-old-trouble", hosts=["h4"]))
    fleet.enter("h4", "systemctl reset-failed old-trouble", check=False)
    assert (code, ended) == (0, {"h4": "succeeded"}), why


def test_an_ordinary_user_with_sudo_can_deploy_and_one_without_is_told_why(fleet, good):
    given = {host: {"release": "by-user", "web": True} for host in ("h1", "h2", "h7")}
    flake = deploy_flake(fleet.dir, given, health=FAST, name="users",
                         hosts={"h1": {"targetUser": "deploy"}, "h7": {"targetUser": "deploy"},
                                "h2": {"targetUser": "plain"}})
    code, ended, why = deploy(fleet, flake)
    assert (code, ended) == (3, {"h1": "succeeded", "h7": "succeeded", "h2": "failed-unchanged"}), why
    assert "sudo" in why["h2"] and "privilegeEscalationCommand" in why["h2"]


def test_goals_stop_where_they_say(fleet, good):
    before = fleet.host_state("h6")
    flake = flake_of(fleet, "goals", hosts=["h6"])
    new = fleet.build(toplevel(flake, "h6"))
    for goal in ("build", "push", "dry-activate"):
        assert deploy(fleet, flake, "--goal", goal)[:2] == (0, {"h6": "staged"}), goal
        assert fleet.host_state("h6") == before, goal
    assert deploy(fleet, flake, "--goal", "test")[:2] == (0, {"h6": "succeeded"})
    tested = fleet.host_state("h6")
    assert (tested["current_system"], tested["boot_default"]) == (new, before["boot_default"])
    assert deploy(fleet, flake, "--goal", "boot")[:2] == (0, {"h6": "staged"})
    assert fleet.host_state("h6")["boot_default"] == new
    fleet.reboot("h6")
    assert_on(fleet, "h6", new)


def test_rollback_goes_to_the_generation_before_and_to_any_other(fleet, good):
    older = fleet.host_state("h7")
    flake = flake_of(fleet, "newer", hosts=["h7"])
    assert deploy(fleet, flake)[0] == 0
    newer = fleet.build(toplevel(flake, "h7"))
    code, _, err = fleet.flurry("rollback", flake, "--on", "h7", "--yes")
    assert code == 0, err
    assert_on(fleet, "h7", older["current_system"])
    code, _, err = fleet.flurry("rollback", flake, "--on", "h7", "--to", str(older["generation"] + 1), "--yes")
    assert code == 0, err
    assert_on(fleet, "h7", newer)
    code, _, err = fleet.flurry("rollback", flake, "--on", "h7", "--to", "9999", "--yes")
    assert code == 1 and "9999" in err


def test_status_tells_what_runs_and_what_the_flake_wants(fleet, good):
    flake = flake_of(fleet, "seen", hosts=["h8"])
    told = status(fleet, flake, "h8")
    assert told["drift"] == "drifted" and told["error"] == ""
    assert deploy(fleet, flake)[0] == 0
    told = status(fleet, flake, "h8")
    new = fleet.build(toplevel(flake, "h8"))
    assert (told["running"], told["profile"], told["drift"]) == (new, new, "in-sync")
    assert told["last"]["outcome"] == "succeeded"


def test_check_runs_the_checks_and_its_exit_code_tells(fleet, good):
    flake = flake_of(fleet, "checked", hosts=["h4"])
    assert deploy(fleet, flake)[0] == 0
    assert fleet.flurry("check", flake)[0] == 0
    fleet.enter("h4", "systemctl stop web.service")
    code, out, _ = fleet.flurry("check", flake)
    fleet.enter("h4", "systemctl start web.service")
    assert code == 5 and "site" in out


def test_hosts_selects_without_touching_any_host(fleet, good):
    flake = deploy_flake(fleet.dir, {host: {} for host in HOSTS}, name="tags",
                         hosts={"h1": {"tags": ["web"]}, "h2": {"tags": ["db"]}})
    listed = lambda on: [e["host_listed"]["host"] for e in fleet.flurry_json("hosts", flake, "--on", on)[1]]  # noqa: E731
    assert listed("@web,h8") == ["h1", "h8"]
    assert listed("h*&!(@web,@db)") == HOSTS[2:]
    code, _, err = fleet.flurry("hosts", flake, "--on", "@wbe")
    assert code == 1 and "web" in err
