# switch-to-configuration of the minios system @out@: what NixOS's does, in its order, with its words and exit codes.
# docs/nixos.md tells what that is. The parts lie in @switch@.
switch=@switch@
awk=@awk@
age=@age@
etc=$(readlink -f @out@/etc)
scope=system told= lists=/run/nixos
units=/etc/systemd/system old_units=/etc/systemd/system new_units=$etc/systemd/system
# Without SYSTEMCTL_FORCE_BUS root's systemctl would go past the bus, which the real one depends on.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:@out@/sw/bin LC_ALL=C SYSTEMCTL_FORCE_BUS=1
export PATH LC_ALL SYSTEMCTL_FORCE_BUS
action=${1:-}
case $action in
  check|switch|boot|test|dry-activate) ;;
  *) echo "Usage: switch-to-configuration [check|switch|boot|test|dry-activate]" >&2; exit 1 ;;
esac
[ "$(id -u)" = 0 ] || { echo "Error: switch-to-configuration must be run as the root user" >&2; exit 1; }
NIXOS_ACTION=$action
export NIXOS_ACTION
. "$switch/jobs.sh"
. "$switch/changes.sh"
. "$switch/fstab.sh"

# Where the real one ends by errno, this is the number that was seen, or that the call before it leaves behind.
ENOENT=2 EAGAIN=11 EEXIST=17 EINVAL=22
if [ "$age" = 2024 ]; then check_errno=$EINVAL boot_errno=$EEXIST; else check_errno=1 boot_errno=1; fi

if [ ! -f /etc/NIXOS ] && ! grep -qx 'ID="\?nixos"\?' /etc/os-release; then
  echo "This is not a NixOS installation!" >&2
  exit $ENOENT
fi

# Descriptor 9 stays ours (9>&- everywhere below): a hanging child must not hold the lock of a dead parent.
mkdir -p /run/nixos
chmod 755 /run/nixos
exec 9>> /run/nixos/switch-to-configuration.lock
if [ "$age" = 2024 ]; then
  /usr/bin/flock 9
elif ! /usr/bin/flock -n 9; then
  echo "Could not acquire lock" >&2
  exit $EAGAIN
fi

if [ "${NIXOS_NO_CHECK:-}" != 1 ]; then
  @out@/pre-switch-check @out@ "$action" 9>&- || { echo "Pre-switch checks failed" >&2; exit $check_errno; }
fi
if [ "$action" = check ]; then exit 0; fi

# The boot loader's stand-in: a file that names the system to boot. Whole or not at all, even in a power cut.
install_bootloader() {
  mkdir -p /boot/minios
  [ ! -e /boot/minios/fail ] || { echo "boot loader: /boot/minios/fail is there" >&2; return 1; }
  echo @out@ > /boot/minios/default.tmp && sync /boot/minios/default.tmp &&
    mv /boot/minios/default.tmp /boot/minios/default && sync /boot/minios
}
case $action in
  switch|boot) install_bootloader || { echo "Failed to install bootloader" >&2; exit $boot_errno; } ;;
esac
# Here NixOS's has /nix/store synced. A lab's hosts share the machine's disk, and would wait for what others write to it.
if [ "$action" = boot ]; then exit 0; fi

# A machine without any system is none of NixOS's; this one lets it have its first.
if [ -e /run/current-system/init-interface-version ] &&
   [ "$(cat /run/current-system/init-interface-version)" != "$(cat @out@/init-interface-version)" ]; then
  echo "Warning: the new NixOS configuration has an ‘init’ that is" >&2
  echo "incompatible with the current configuration.  The new configuration" >&2
  echo "won't take effect until you reboot the system." >&2
  exit 100
fi

old_system=$(readlink -f /run/current-system || echo /run/current-system)
take_up_lists
watch_bus
collect_changes
compare_fstab
new_init=
if [ "$(readlink -f /etc/systemd/system.conf || echo none)" != "$(readlink -f "$etc/systemd/system.conf" || echo none)" ]; then
  new_init=1
fi

# The activation may ask for units, by files in /run/nixos. What it asks for is treated as changed.
take_requests() {
  for unit in $(cat "/run/nixos/$1-restart-list" 2> /dev/null); do
    if is_active_now "$unit"; then
      base=$(base_of "$unit")
      read_unit "$new_units/$base" "$new_units/$base.d"/*.conf
      modified "$unit" "$base" restart
    else
      add to_start "$unit"
      record start "$unit"
    fi
  done
  rm -f "/run/nixos/$1-restart-list"
  for unit in $(cat "/run/nixos/$1-reload-list" 2> /dev/null); do
    if is_active_now "$unit" && ! has "$to_restart" "$unit" && ! has "$to_stop" "$unit"; then
      add to_reload "$unit"
      record reload "$unit"
    fi
  done
  rm -f "/run/nixos/$1-reload-list"
}

shown() { for unit in $1; do has "$unshown" "$unit" || printf ' %s' "$unit"; done; }

if [ "$action" = dry-activate ]; then
  tell "would stop" units $(shown "$to_stop")
  tell "would NOT stop" "changed units" $to_skip
  echo "would activate the configuration..." >&2
  if [ -x @out@/dry-activate ]; then @out@/dry-activate @out@ 9>&-; fi
  take_requests dry-activation
  [ -z "$new_init" ] || echo "would restart systemd" >&2
  tell "would reload" units $to_reload
  tell "would restart" units $to_restart
  tell "would start" units $(shown "$to_start")
  finish 0
fi

tell stopping units $(shown "$to_stop")
run_jobs stop $to_stop
tell "NOT restarting" "changed units" $to_skip

echo "activating the configuration..." >&2
if [ -x @out@/activate ]; then
  @out@/activate @out@ 9>&- || { echo "Failed to run activate script" >&2; status=2; }
fi
take_requests activation

# An answer to anything says that systemd is there again.
await_systemd() {
  tries=0
  until busctl --timeout=5 get-property org.freedesktop.systemd1 /org/freedesktop/systemd1 \
      org.freedesktop.systemd1.Manager Version > /dev/null 2>&1 9>&-; do
    check_bus "Failed to process dbus messages"
    tries=$((tries + 1))
    if [ "$tries" -ge 1800 ]; then echo "Error: systemd daemon $1 failed, timeout after 180s" >&2; finish 1; fi
    sleep 0.1 9>&-
  done
}
if [ -n "$new_init" ]; then
  echo "restarting systemd..." >&2
  ctl daemon-reexec > /dev/null 2>&1
  await_systemd reexecute
fi
check_bus "Failed to reset failed units"
ctl reset-failed || { echo "Error: Failed to reset failed units" >&2; finish 1; }
ctl daemon-reload > /dev/null 2>&1 || await_systemd reload
check_bus "Failed to process dbus messages"

# Users' units and activations. logind alone knows who is here.
switch_user() {
  runtime=$(busctl get-property org.freedesktop.login1 "$3" org.freedesktop.login1.User RuntimePath 9>&-)
  runtime=${runtime#s \"}
  echo "reloading user units for $2..." >&2
  /usr/bin/setpriv --reuid "$1" --regid "$(id -g "$2")" --clear-groups env -i "XDG_RUNTIME_DIR=${runtime%\"}" \
    "$switch_user" "$old_system" @out@ "$action" 9>&- && return
  if [ "$age" != 2024 ]; then
    echo "warning: user activation for $2 failed" >&2
    status=4
  fi
}
switch_user=@switchUser@
if ! users=$(busctl --timeout=25 call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager \
    ListUsers 2>&1 9>&-); then
  check_bus "Failed to list users"
  echo "Unable to list users with logind: $users" >&2
  finish $EAGAIN
fi
set -- $(printf '%s' "$users" | tr -d '"')
if [ $# -gt 2 ]; then shift 2; else set --; fi
while [ $# -ge 3 ]; do
  switch_user "$1" "$2" "$3"
  shift 3
done

echo "restarting sysinit-reactivation.target" >&2
run_jobs restart sysinit-reactivation.target

# What was to be reloaded and was taken down meanwhile is started instead, where it is a unit of the system's.
for unit in $to_reload; do
  object=$(busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager GetUnit s \
    "$unit" 2> /dev/null 9>&-) || { echo "Error: Failed to get unit $unit" >&2; finish 1; }
  object=${object#o \"}
  case $(busctl get-property org.freedesktop.systemd1 "${object%\"}" org.freedesktop.systemd1.Unit ActiveState 9>&-) in
    *\"active\"*|*\"activating\"*) continue ;;
  esac
  if [ -e "$new_units/$unit" ]; then
    read_unit "$new_units/$unit" "$new_units/$unit.d"/*.conf
    if [ "$refuse_start" = 0 ] || [ "$only_by_hand" = 1 ]; then add to_start "$unit"; record start "$unit"; fi
  fi
  to_reload=$(without "$unit" "$to_reload")
  unrecord reload "$unit"
done

if [ -n "$to_reload" ]; then
  tell reloading units $to_reload
  run_jobs reload $to_reload
  rm -f /run/nixos/reload-list
fi
if [ -n "$to_restart" ]; then
  tell restarting units $to_restart
  run_jobs restart $to_restart
  rm -f /run/nixos/restart-list
fi
tell starting units $(shown "$to_start")
run_jobs start $to_start
rm -f /run/nixos/start-list
tell_ended_jobs

# Until systemd has had no jobs for a quarter of a second; 90 s, but for 2024's, which waits for ever.
tries=0 quiet=0
while [ "$quiet" -lt 3 ] && { [ "$tries" -lt 900 ] || [ "$age" = 2024 ]; }; do
  if [ -z "$(ctl list-jobs --no-legend --plain 2> /dev/null)" ]; then quiet=$((quiet + 1)); else quiet=0; fi
  tries=$((tries + 1))
  sleep 0.1 9>&-
done

after=$(active_units)
check_bus "Failed to list systemd units"
failed= new=
while read -r unit state sub; do
  if [ "$state" = failed ]; then failed="$failed $unit"; continue; fi
  case $unit:$sub in
    *.service:auto-restart)
      if [ "$(ctl show -P ExecMainStatus -- "$unit")" != 0 ]; then failed="$failed $unit"; continue; fi ;;
    *.scope:*) continue ;;
  esac
  [ -z "$unit" ] || is_active_now "$unit" || new="$new $unit"
done <<END
$after
END
if [ -n "$new" ]; then echo "the following new units were started: $(sorted $new)" >&2; fi
if [ -n "$failed" ]; then
  echo "warning: the following units failed: $(sorted $failed)" >&2
  ctl status --full -- $failed >&2
  status=4
fi
finish "$status"
