# One user's part of a switch, run as that user: OLD NEW ACTION, the two systems. Their units, then their activation.
switch=@switch@
awk=@awk@
scope=user told="user unit "
old_units=$1/etc/systemd/user new_units=$2/etc/systemd/user units=/etc/systemd/user
action=$3 age=@age@
lists=$XDG_RUNTIME_DIR/nixos
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
mkdir -p "$lists" && chmod 700 "$lists" || exit 1
. "$switch/jobs.sh"
. "$switch/changes.sh"

# Nobody's manager answers: as where the session bus can't be opened.
ctl show -p Version > /dev/null 2>&1 || { echo "Error: Failed to open dbus connection" >&2; exit 1; }

what="user units"
if [ "$age" != 2024 ]; then
  take_up_lists
  collect_changes
fi
to_skip=$(without nixos-activation.service "$to_skip")
tell stopping "$what" $to_stop
run_jobs stop $to_stop
tell "NOT restarting" "$what" $to_skip
ctl daemon-reexec > /dev/null 2>&1
ctl reset-failed > /dev/null 2>&1
ctl daemon-reload > /dev/null 2>&1
tell reloading "$what" $to_reload
run_jobs reload $to_reload
rm -f "$lists/reload-list"
tell restarting "$what" $to_restart
run_jobs restart $to_restart
rm -f "$lists/restart-list"
shown=
for unit in $to_start; do has "$unshown" "$unit" || shown="$shown $unit"; done
tell starting "$what" $shown
run_jobs start $to_start
rm -f "$lists/start-list"

# How it ends is nobody's business: only that it has ended.
if [ -e "$new_units/nixos-activation.service" ]; then
  echo "restarting the following user units: nixos-activation.service" >&2
  said=$(ctl restart nixos-activation.service 2>&1)
  case $said in "Failed to restart"*) echo "$said" >&2; status=4 ;; esac
fi
tell_ended_jobs
failed=$(printf '%s' "$ended" | sed -n 's/.* user unit \(.*\)/\1/p')
if [ -n "$failed" ]; then
  echo "warning: the following user units failed: $(sorted $failed)" >&2
  echo "See \`systemctl --user status $(echo $failed)\` for details." >&2
fi
exit "$status"
