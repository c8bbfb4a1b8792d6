"""Profiles that are not the system: a user's home, a deploy-rs script, a plain program, beside a system and alone."""

import os

import pytest
from harness import Expr, deploy_flake
from steps import Run, deploy, status

HEALTH = {"minHealthy": "0s", "deadline": "8s"}
TIMES = {"confirmTimeout": "8s", "activationTimeout": "20s"}
LINK = "/nix/var/nix/profiles/per-user"


def home(release, extra=""):
    """As home-manager: writes into the user's home what the profile says, as the user."""
    return Expr(f"""minios.mkProfile {{ name = "home"; release = "{release}"; activate = ''
        echo "$(id -un) $HOME {release}" > "$HOME/.greeting"; {extra}
    ''; }}""")


def script(release, extra=""):
    """As deploy-rs: told by its environment what is wanted, with the profile as its folder."""
    return Expr(f"""minios.mkProfile {{ name = "ops"; release = "{release}"; deployRs = ''
        echo "$(id -un) $PROFILE dry=$DRY_ACTIVATE boot=$BOOT $(pwd -P) {release}" >> /var/ops.log; {extra}
    ''; }}""")


def program(release):
    return Expr(f'minios.mkProfile {{ name = "tool"; release = "{release}"; }}')


def flake_of(lab, host, system, profiles, health=HEALTH, **fields):
    return deploy_flake(lab.dir, {host: system}, health=health, flurry={"defaults": TIMES},
                        hosts={host: {"profiles": profiles, **fields}}, name=f"profiles-{host}")


def link(lab, host, user, name):
    places = f"{LINK}/{user}/{name} ~{user}/.local/state/nix/profiles/{name}"
    return lab.enter(host, f"for at in {places}; do [ ! -L $at ] || readlink -f $at; done").strip()


def greeting(lab, host):
    return lab.enter(host, "cat ~plain/.greeting 2> /dev/null || true").strip()


@pytest.fixture(scope="module")
def settled(pair):
    """h1 runs release 1 of a system and of all three kinds of profile."""
    profiles = {"home": {"user": "plain", "path": home("1")}, "ops": {"path": script("1")},
                "tool": {"user": "plain", "path": program("1")}}
    flake = flake_of(pair, "h1", {"release": "base"}, profiles)
    code, ended, why = deploy(pair, flake, "--allow-no-rollback")
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    return pair


def all_profiles(ops="1", home_release="1", tool="1", ops_extra="", home_extra=""):
    return {"home": {"user": "plain", "path": home(home_release, home_extra)},
            "ops": {"path": script(ops, ops_extra)}, "tool": {"user": "plain", "path": program(tool)}}


def facts(lab, host):
    state = lab.host_state(host)
    links = [link(lab, host, user, name) for user, name in (("plain", "home"), ("root", "ops"), ("plain", "tool"))]
    return state["current_system"], state["profile"], links, greeting(lab, host)


def test_a_first_profile_with_an_activation_needs_the_users_word(pair):
    flake = flake_of(pair, "h2", {"release": "1"}, {"home": {"user": "plain", "path": home("1")}})
    code, ended, why = deploy(pair, flake)
    assert (code, ended) == (3, {"h2": "failed-unchanged"})
    assert "profile home" in why["h2"] and "--allow-no-rollback" in why["h2"]
    assert greeting(pair, "h2") == ""


def test_a_plain_program_needs_no_word_and_is_gone_when_the_host_goes_back(pair):
    bad = {"release": "ill", "web": {"status": 500}}
    flake = flake_of(pair, "h2", bad, {"tool": {"user": "plain", "path": program("1")}},
                     health={**HEALTH, "checks": {"web": {"http": {"url": "http://localhost/healthz"}}}})
    before = pair.host_state("h2")
    code, ended, why = deploy(pair, flake)
    assert (code, ended) == (4, {"h2": "rolled-back"}), why
    assert pair.host_state("h2")["current_system"] == before["current_system"]
    assert link(pair, "h2", "plain", "tool") == ""


def test_all_kinds_are_activated_as_their_users(settled):
    assert greeting(settled, "h1") == "plain /home/plain 1"
    assert "home-1" in link(settled, "h1", "plain", "home")
    assert settled.enter("h1", link(settled, "h1", "plain", "tool") + "/bin/tool") == "tool 1\n"
    owners = settled.enter("h1", f"find {LINK}/plain ~plain/.local -name home-1-link 2> /dev/null | xargs stat -c %U")
    assert owners == "plain\n"
    said = settled.enter("h1", "tail -n 1 /var/ops.log").split()
    assert said[:4] == ["root", f"{LINK}/root/ops", "dry=0", "boot=0"] and said[4].endswith("-ops-1")


def test_only_the_profile_that_differs_is_activated(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "base"}, all_profiles(tool="2"))
    code, ended, why = deploy(settled, flake)
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    after = facts(settled, "h1")
    assert (after[0], after[1], after[3]) == (before[0], before[1], before[3])
    assert "tool-2" in after[2][2] and after[2][:2] == before[2][:2]
    assert deploy(settled, flake)[:2] == (0, {"h1": "unchanged"})


def test_a_profile_whose_activation_fails_takes_system_and_profiles_back(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "next"}, all_profiles("2", "2", "3", ops_extra="exit 7"))
    code, ended, why = deploy(settled, flake)
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert "profile ops: its activation exited with 7" in why["h1"]
    assert facts(settled, "h1") == before


def test_an_unhealthy_system_takes_the_homes_back_too(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "ill"}, all_profiles("2", "2", "3"),
                     health={**HEALTH, "checks": {"no": {"command": ["false"]}}})
    code, ended, why = deploy(settled, flake)
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert facts(settled, "h1") == before


def test_a_power_cut_before_the_confirmation_takes_the_homes_back_too(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "dark"}, all_profiles("2", "2", "3"),
                     health={"minHealthy": "5s", "deadline": "20s"})
    run = Run(settled, "deploy", flake, "--yes")
    run.wait_stage("h1", "check")
    settled.power_cut("h1")
    code, ended, why = run.finish()
    assert (code, ended) == (4, {"h1": "rolled-back"}), why
    assert facts(settled, "h1") == before


def test_status_tells_the_profiles_and_their_drift(settled):
    flake = flake_of(settled, "h1", {"release": "base"}, all_profiles(tool="4"))
    told = status(settled, flake, "h1")
    tool = [p for p in told["user_profiles"] if p["name"] == "tool"][0]
    assert tool["path"].endswith("-tool-2") and tool["desired"].endswith("-tool-4")
    assert told["drift"] == "drifted"


def test_a_dry_activation_asks_the_script_and_changes_nothing(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "base"}, all_profiles("9"))
    assert deploy(settled, flake, "--goal", "dry-activate")[:2] == (0, {"h1": "staged"})
    assert facts(settled, "h1") == before
    assert "dry=1" in settled.enter("h1", "tail -n 1 /var/ops.log")


def test_a_user_that_the_host_does_not_have_is_told_before_anything_is_touched(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "base"}, {"home": {"user": "nobody-such", "path": home("1")}})
    code, ended, why = deploy(settled, flake)
    assert (code, ended) == (3, {"h1": "failed-unchanged"})
    assert "there is no user nobody-such" in why["h1"]
    assert facts(settled, "h1") == before


# --- as deploy-rs declares them: a profile that is made to be activated ------------------------------------------


def deploy_rs_flake(lab, host, profiles):
    path = deploy_flake(lab.dir, {}, name="deploy-rs-profiles")
    with open(os.path.join(path, "flake.nix"), "w", encoding="utf-8") as out:
        out.write(f"""{{ outputs = {{ self }}: let minios = import ./minios {{ busyboxDir = ./.; }}; in {{
          deploy = {{ sshUser = "root"; nodes.{host} = {{ hostname = "{host}"; profiles = {{ {profiles} }}; }}; }};
        }}; }}""")
    return path


def refused(lab, host, profiles):
    before = facts(lab, host)
    code, ended, why = deploy(lab, deploy_rs_flake(lab, host, profiles))
    assert (code, ended) == (3, {host: "failed-unchanged"}), why
    assert facts(lab, host) == before
    return why[host]


def test_a_deploy_rs_profile_that_brings_nothing_to_activate_is_refused(pair):
    said = refused(pair, "h2", 'tool = { user = "plain"; path = minios.mkProfile { name = "tool"; release = "none"; }; };')
    assert "profile tool" in said and "brings nothing to activate" in said and "activate.noop" in said


def test_a_system_whose_own_script_does_more_than_switch_is_refused(pair):
    said = refused(pair, "h2", """system = { user = "root"; path = minios.activatableBy ''
        echo pre >> /var/own-script
        "$PROFILE/bin/switch-to-configuration" switch
        echo post >> /var/own-script
      '' (minios.mkSystem { name = "h2"; release = "own"; }).config.system.build.toplevel; };""")
    assert "brings an activation script of its own" in said and "system.activationScripts" in said
    assert pair.enter("h2", "ls /var/own-script 2> /dev/null || true") == ""


# --- home-manager's own profile -----------------------------------------------------------------------------------


def generations(lab, host, folder):
    """Of home-manager's profile there, the oldest first: what each names, by its release; and the one that is present."""
    listed = lab.enter(host, f"cd {folder} 2> /dev/null && ls -v -d home-manager-*-link | xargs -r -n 1 readlink; true").split()
    present = lab.enter(host, f"readlink -f {folder}/home-manager || true").strip()
    return [path.rsplit("-", 1)[1] for path in listed], present.rsplit("-", 1)[-1]


@pytest.mark.parametrize("wraps", [False, True], ids=["as-it-is", "wrapped-for-deploy-rs"])
def test_a_home_makes_one_generation_a_deployment_where_home_manager_looks_for_it(pair, wraps):
    own, shared = "~plain/.local/state/nix/profiles", f"{LINK}/plain"
    pair.enter("h2", f"rm -rf {own}/home-manager* {shared}/home-manager*; mkdir -p {shared}; chown plain: {shared}; "
               "su plain -c 'mkdir -p ~/.local/state/nix/profiles'")

    def deploy_home(release, more=""):
        home = f'(minios.mkHome {{ release = "{release}"; more = "{more}"; }})'
        if not wraps:
            flake = deploy_flake(pair.dir, {}, health=HEALTH, name="own-home", flurry={"defaults": TIMES, "hosts": {
                "h2": {"profiles": {"home-manager": {"user": "plain", "path": Expr(home)}}}}})
        else:
            flake = deploy_rs_flake(pair, "h2", f"""home-manager = {{ user = "plain"; confirmTimeout = 8; activationTimeout = 20;
                path = minios.activatableBy "exec $PROFILE/activate" {home}; }};""")
        code, ended, why = deploy(pair, flake, "--allow-no-rollback")
        return ended["h2"], why["h2"]

    assert deploy_home("1") == ("succeeded", "")
    assert generations(pair, "h2", own) == (["1"], "1")
    assert deploy_home("2") == ("succeeded", "")
    assert generations(pair, "h2", own) == (["1", "2"], "2")
    outcome, why = deploy_home("3", "exit 7")
    assert outcome == "rolled-back" and "exited with 7" in why
    assert generations(pair, "h2", own) == (["1", "2"], "2")
    assert generations(pair, "h2", shared)[0] == []
    assert pair.enter("h2", "cat ~plain/.home-manager") == "plain 2\n"
    assert deploy_home("2") == ("unchanged", "")


def test_homes_of_a_machine_that_is_not_nixos_are_deployed_alone(pair):
    flake = deploy_flake(pair.dir, {}, health=HEALTH, flurry={"defaults": TIMES, "hosts": {
        "h2": {"profiles": {"tool": {"user": "plain", "path": program("alone")}}}}}, name="homes")
    before = pair.host_state("h2")
    code, ended, why = deploy(pair, flake)
    assert (code, ended) == (0, {"h2": "succeeded"}), why
    assert "tool-alone" in link(pair, "h2", "plain", "tool")
    assert pair.host_state("h2") == before


def roll_back(lab, flake, host):
    code, _, err = lab.flurry("rollback", flake, "--on", host, "--yes")
    return code, err


def test_a_rollback_of_homes_alone_leaves_the_system(pair):
    def flake(release):
        return deploy_flake(pair.dir, {}, health=HEALTH, flurry={"defaults": TIMES, "hosts": {
            "h2": {"profiles": {"tool": {"user": "plain", "path": program(release)}}}}}, name=f"homes-{release}")
    assert deploy(pair, flake("back1"))[0] == 0
    assert deploy(pair, flake("back2"))[0] == 0
    before = pair.host_state("h2")
    code, err = roll_back(pair, flake("back2"), "h2")
    assert code == 0, err
    assert "tool-back1" in link(pair, "h2", "plain", "tool")
    assert pair.host_state("h2") == before
    code, _, err = pair.flurry("rollback", flake("back2"), "--on", "h2", "--to", "1", "--yes")
    assert code == 1 and "declares no system profile" in err


def test_a_rollback_takes_every_declared_profile_back_and_then_further(settled):
    before = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "back1"}, all_profiles("31", "31", "31"))
    assert deploy(settled, flake)[0] == 0
    first = facts(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "back2"}, all_profiles("32", "32", "32"))
    assert deploy(settled, flake)[0] == 0
    code, err = roll_back(settled, flake, "h1")
    assert code == 0, err
    assert facts(settled, "h1") == first
    code, err = roll_back(settled, flake, "h1")
    assert code == 0, err
    assert facts(settled, "h1") == before


def test_a_home_that_was_only_set_is_activated_by_the_next_deployment(settled):
    before = greeting(settled, "h1")
    flake = flake_of(settled, "h1", {"release": "base"}, all_profiles(home_release="41", tool="2"))
    assert deploy(settled, flake, "--goal", "boot")[:2] == (0, {"h1": "staged"})
    assert "home-41" in link(settled, "h1", "plain", "home") and greeting(settled, "h1") == before
    assert status(settled, flake, "h1")["drift"] == "drifted"
    code, ended, why = deploy(settled, flake)
    assert (code, ended) == (0, {"h1": "succeeded"}), why
    assert greeting(settled, "h1") == "plain /home/plain 41"
    assert status(settled, flake, "h1")["drift"] == "in-sync"
    assert deploy(settled, flake)[:2] == (0, {"h1": "unchanged"})


def test_a_home_whose_failed_activation_stays_is_activated_again(settled):
    flake = flake_of(settled, "h1", {"release": "base"},
                     all_profiles(home_release="51", tool="2", home_extra="[ -e /var/may-pass ]"),
                     autoRollback=False)
    assert deploy(settled, flake)[:2] == (5, {"h1": "rollback-failed"})
    assert deploy(settled, flake)[:2] == (5, {"h1": "rollback-failed"})
    settled.enter("h1", "touch /var/may-pass")
    assert deploy(settled, flake)[:2] == (0, {"h1": "succeeded"})
