# switch-to-configuration of the minios system @out@: same order, locks and exit codes as NixOS's.
#   0 ok · 1 nothing was switched · 2 activation failed, units were switched · 4 units failed · 100 reboot needed
PATH=/usr/sbin:/usr/bin:/sbin:/bin:@out@/sw/bin
export PATH
action=${1:-}
units=/run/systemd/system

die() { echo "$1" >&2; exit 1; }

case $action in
  check|switch|boot|test|dry-activate) ;;
  *) die "Usage: @out@/bin/switch-to-configuration [check|switch|boot|test|dry-activate]" ;;
esac
[ -e /etc/NIXOS ] || die "This is not a NixOS installation!"
[ "$(id -u)" = 0 ] || die "switch-to-configuration: must be run as root"
NIXOS_ACTION=$action
export NIXOS_ACTION

# Descriptor 9 stays ours (9>&- everywhere below): a hanging child must not hold the lock of a dead parent.
mkdir -p /run/nixos
exec 9> /run/nixos/switch-to-configuration.lock
/usr/bin/flock -n 9 || die "Could not acquire lock"

if [ "${NIXOS_NO_CHECK:-}" != 1 ]; then
  @out@/pre-switch-check @out@ "$action" 9>&- || die "Pre-switch checks failed"
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
  switch|boot) install_bootloader || die "Failed to install bootloader" ;;
esac
if [ "$action" = boot ]; then exit 0; fi

if [ -e /run/current-system/init-interface-version ] &&
   [ "$(cat /run/current-system/init-interface-version)" != "$(cat @out@/init-interface-version)" ]; then
  echo "Warning: the new NixOS configuration has an 'init' that is incompatible with the current configuration." >&2
  echo "The new configuration won't take effect until you reboot the system." >&2
  exit 100
fi

# What is linked now tells what the host really runs, also after a switch that broke off midway.
flag() { grep -q "^$2=$3\$" "$1" 2>/dev/null; }
stop= start= restart= reload=
for link in "$units"/*; do
  case $(readlink "$link" || true) in /nix/store/*) ;; *) continue ;; esac
  unit=${link##*/}
  new=@out@/etc/systemd/system/$unit
  if [ ! -e "$new" ]; then
    flag "$link" X-StopOnRemoval false || stop="$stop $unit"
  elif [ "$(readlink -f "$new")" != "$(readlink -f "$link")" ]; then
    if flag "$new" X-RestartIfChanged false; then :
    elif flag "$new" X-ReloadIfChanged true; then reload="$reload $unit"
    else restart="$restart $unit"
    fi
  fi
done
for new in @out@/etc/systemd/system/*; do
  if [ -e "$new" ] && [ ! -L "$units/${new##*/}" ]; then start="$start ${new##*/}"; fi
done

tell() {
  verb=$1
  shift
  if [ $# -gt 0 ]; then echo "$verb the following units: $(echo "$*" | sed 's/ /, /g')" >&2; fi
}
if [ "$action" = dry-activate ]; then
  tell "would stop" $stop
  @out@/dry-activate 9>&-
  tell "would reload" $reload
  tell "would restart" $restart
  tell "would start" $start
  exit 0
fi

status=0
tell "stopping" $stop
if [ -n "$stop" ]; then systemctl stop $stop 9>&- || status=4; fi

@out@/activate 9>&- || status=2

systemctl reset-failed 9>&-
systemctl daemon-reload 9>&-
tell "reloading" $reload
if [ -n "$reload" ]; then systemctl reload $reload 9>&- || status=4; fi
tell "restarting" $restart
if [ -n "$restart" ]; then systemctl restart $restart 9>&- || status=4; fi
tell "starting" $start
# The target pulls in every unit of the system that isn't running, as NixOS's start of multi-user.target does.
systemctl start minios.target 9>&- || status=4

# Wait until systemd has had no jobs for a quarter of a second, for at most 90 s.
tries=0 quiet=0
while [ "$quiet" -lt 3 ] && [ "$tries" -lt 900 ]; do
  if [ -z "$(systemctl list-jobs --no-legend --plain 9>&-)" ]; then quiet=$((quiet + 1)); else quiet=0; fi
  tries=$((tries + 1))
  sleep 0.1
done

failed=$(systemctl list-units --state=failed --no-legend --plain 9>&- | sed 's/ .*//')
for unit in $(systemctl list-units --state=auto-restart --no-legend --plain 9>&- | sed 's/ .*//'); do
  [ "$(systemctl show -P ExecMainStatus "$unit" 9>&-)" = 0 ] || failed="$failed $unit"
done
failed=$(echo $failed)
if [ -n "$failed" ]; then
  echo "warning: the following units failed: $(echo "$failed" | sed 's/ /, /g')" >&2
  systemctl status --no-pager --full $failed 9>&- >&2 || true
  status=4
fi
exit "$status"
