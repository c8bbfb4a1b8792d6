"""What must be true of a host after each fault at each point of a deployment (CONTRACT section 2)."""

# "disk-full" is the journal's file system, "store-full" that of /nix.
FAULTS = ("agent-killed", "controller-killed", "network-cut", "reboot", "power-cut", "sshd-frozen", "disk-full",
          "store-full")
# What becomes of the host as a whole. They strike at some points only: they stop the agent wherever it stands.
MODES = ("emergency", "isolate", "bus-lost", "soft-reboot")
# What somebody else does there at the same time: switches to a third system, or to the one under way, or holds the lock
# of switches for some seconds. Where they can make a difference.
OTHERS = ("other-switch", "same-switch", "lock-taken")

# How the deployment ends, as the next `flurry status` tells it. NOTHING: it has never heard of it.
SUCCEEDED, ROLLED_BACK, UNCHANGED, NOTHING = "succeeded", "rolled-back", "failed-unchanged", "nothing"
SUPERSEDED = "superseded"

_NO_WORD = (ROLLED_BACK, "no confirmation came by the deadline")
_OLD_BOOTS = (ROLLED_BACK, "the boot default was still the old system")
_UNTOUCHED = (UNCHANGED, "the journal tells that no switch had begun")
_ROOM = (SUCCEEDED, "all that the journal will ever need was reserved at its start")
_NO_ROOM = (ROLLED_BACK, "without room in the store's file system the profile can't be set")
_FORWARD = (SUCCEEDED, "the confirmation is durable: whoever comes next commits again")
_CONFIRMED = (SUCCEEDED, "the agent has the confirmation and needs nobody else to commit")
_OVER = (SUCCEEDED, "it had ended; what is left is cleared by whoever comes next")
_BACK = (ROLLED_BACK, "it was going back, and whoever comes next goes on with that")

_UNCONFIRMED = {
    "agent-killed": (ROLLED_BACK, "a new system whose agent was killed is taken for a sick one"),
    "controller-killed": _NO_WORD,
    "network-cut": _NO_WORD,
    "reboot": _OLD_BOOTS,
    "power-cut": _OLD_BOOTS,
    "sshd-frozen": _NO_WORD,
    "disk-full": _ROOM,
    "store-full": _NO_ROOM,
}
_PREPARED = {**_UNCONFIRMED, "agent-killed": _UNTOUCHED, "reboot": _UNTOUCHED, "power-cut": _UNTOUCHED}
_COMMITTING = {**dict.fromkeys(FAULTS, _FORWARD), "reboot": _OLD_BOOTS, "power-cut": _OLD_BOOTS}
_ATTACHED = (SUCCEEDED, "the next life of the agent finds the switch in its own unit, and how it ended")

# The points in the order of a deployment: {point: (what it is, {fault: (outcome, why)})}.
MATRIX = {
    "journal-before": ("nothing is durable", {
        **_PREPARED,
        "agent-killed": (NOTHING, "what was not journalled never began"),
        "power-cut": (NOTHING, "what was not journalled never began"),
        "disk-full": (UNCHANGED, "no room for a journal: nothing may begin"),
    }),
    "journal-after": ("`prepared` is durable", _PREPARED),
    "deadman-armed": ("the deadman runs", _PREPARED),
    "switch-start": ("`switching` is durable, no switch runs", {
        **_UNCONFIRMED, "agent-killed": (UNCHANGED, "the host shows that no switch had begun")}),
    "switch-running": ("inside the activation", {**_UNCONFIRMED, "agent-killed": _ATTACHED}),
    "switch-end": ("the switch is over, nobody wrote it down", {**_UNCONFIRMED, "agent-killed": _ATTACHED}),
    "check-1": ("a health check is about to run", {**_UNCONFIRMED}),
    "check-2": ("another one is", _UNCONFIRMED),
    "confirm-sent": ("the confirmation is there, not durable", {
        **_COMMITTING,
        "agent-killed": (ROLLED_BACK, "the confirmation was never durable"),
        "controller-killed": _CONFIRMED, "network-cut": _CONFIRMED, "sshd-frozen": _CONFIRMED, "disk-full": _ROOM,
        "store-full": _NO_ROOM,
    }),
    "confirm-received": ("`confirmed` is durable", {**_COMMITTING, "store-full": _NO_ROOM}),
    "profile-set": ("the profile names the new system", _COMMITTING),
    "bootloader-written": ("the new system is the boot default", dict.fromkeys(FAULTS, _FORWARD)),
    "ended": ("the outcome is durable, nothing is cleared", dict.fromkeys(FAULTS, _OVER)),
    "rollback-started": ("`rolling-back` is durable", dict.fromkeys(FAULTS, _BACK)),
    "rollback-done": ("back and verified, nobody wrote it down", dict.fromkeys(FAULTS, _BACK)),
    # Here "agent-killed" kills the deadman; the agent is stopped already.
    "deadman-rollback-started": ("the same, by the deadman", dict.fromkeys(FAULTS, _BACK)),
}


_NO_MODE = (ROLLED_BACK, "the deadman runs in every mode, and what was active before is started again")
_MODES = {
    "switch-running": {"emergency": _NO_MODE},
    "check-1": {"emergency": _NO_MODE, "isolate": _NO_MODE},
    "confirm-sent": {"bus-lost": (SUCCEEDED, "nothing of flurry's needs the bus")},
    "rollback-started": {"emergency": _BACK, "isolate": _BACK, "bus-lost": _BACK},
    "deadman-rollback-started": {"emergency": _BACK, "bus-lost": _BACK},
}
_SOFT = {
    "check-1": _OLD_BOOTS,
    "profile-set": _OLD_BOOTS,
    "bootloader-written": _FORWARD,
    "rollback-started": _BACK,
    "deadman-rollback-started": _BACK,
}
_THIRD = (SUPERSEDED, "somebody else's system is theirs")
_UNLOCKED = (SUCCEEDED, "a lock that comes free in time is waited for")
_OTHERS = {
    "switch-start": {"lock-taken": _UNLOCKED},
    "check-1": {"other-switch": _THIRD, "same-switch": (SUCCEEDED, "it is what was to be committed")},
    "confirm-sent": {"other-switch": _THIRD, "lock-taken": _UNLOCKED},
    "profile-set": {"lock-taken": _UNLOCKED},
    "bootloader-written": {"other-switch": _THIRD},
    "rollback-started": {"other-switch": _THIRD, "same-switch": _BACK, "lock-taken": _BACK},
    "deadman-rollback-started": {"other-switch": _THIRD, "lock-taken": _BACK},
}
for _point, _faults in (*_MODES.items(), *_OTHERS.items()):
    MATRIX[_point][1].update(_faults)
for _point, _end in _SOFT.items():
    MATRIX[_point][1]["soft-reboot"] = _end

ALL = (*FAULTS, *MODES, *OTHERS)


def cells():
    return [(point, fault) for point, (_, faults) in MATRIX.items() for fault in ALL if fault in faults]


def expected(point, fault):
    """(outcome, why)"""
    return MATRIX[point][1][fault]


def ends_on(point, fault):
    return {SUCCEEDED: "new", SUPERSEDED: "third"}.get(expected(point, fault)[0], "old")


def as_markdown():
    faults = ALL
    lines = ["| point | | " + " | ".join(faults) + " |", "|---" * (len(faults) + 2) + "|"]
    for point, (what, outcomes) in MATRIX.items():
        ends = (ends_on(point, fault) if fault in outcomes else "" for fault in faults)
        lines.append(f"| {point} | {what} | " + " | ".join(ends) + " |")
    return "\n".join(lines)
