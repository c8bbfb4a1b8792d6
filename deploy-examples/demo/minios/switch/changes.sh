# Which units a switch must touch, and how: the active ones of the system that is left are compared with the new one's.
# Sourced after jobs.sh; needs $old_units and $new_units (folders), $units (the folder that systemd names), $awk.

# Fills the variables that units.awk prints. read_unit OLD… -- NEW…
read_unit() {
  set -- side=old "$@"
  unit_args=
  for file in "$@"; do
    case $file in
      --) file=side=new ;;
      side=old) ;;
      *) [ -e "$file" ] || continue ;;
    esac
    unit_args="$unit_args $file"
  done
  eval "$("$awk" -f "$switch/units.awk" $unit_args)"
}

active_units() {
  ctl list-units --all --full --plain --no-legend 2> /dev/null | awk '$3 != "inactive" { print $1, $3, $4 }'
}

is_there() { [ -e "$1" ] && [ ! "$1" -ef /dev/null ]; }

any_there() {
  for conf in "$1.d"/*.conf; do is_there "$conf" && return 0; done
  return 1
}

same_file() { [ "$1" -ef "$2" ]; }

same_dropins() {
  [ -d "$1.d" ] || [ -d "$2.d" ] || return 0
  [ "$(cat "$1.d"/*.conf 2> /dev/null)" = "$(cat "$2.d"/*.conf 2> /dev/null)" ]
}

# The template of an instance that has no file of its own in either system.
base_of() {
  case $1 in
    *@*.*) if [ ! -e "$old_units/$1" ] && [ ! -e "$new_units/$1" ]; then printf '%s' "${1%%@*}@.${1##*.}"; return; fi ;;
  esac
  printf '%s' "$1"
}

# Only units that lie in the system's own folder are ours to touch. One question for all of them.
collect_changes() {
  before=$(active_units)
  check_bus "Failed to list systemd units"
  candidates=
  while read -r unit state _; do
    case $state in active|activating) ;; *) continue ;; esac
    if [ -e "$old_units/$(base_of "$unit")" ]; then candidates="$candidates $unit"; fi
  done <<END
$before
END
  [ -n "$candidates" ] || return 0
  ours=$(ctl show -p Id -p FragmentPath -- $candidates 2> /dev/null |
    awk -v folder="$units/" '/^Id=/ { id = substr($0, 4) } /^FragmentPath=/ { path = substr($0, 14) }
      id != "" && path != "" { if (index(path, folder) == 1) print id; id = path = "" } /^$/ { id = path = "" }')
  for unit in $ours; do consider "$unit"; done
}

consider() {
  unit=$1
  base=$(base_of "$unit")
  removed=
  if [ "$base" != "$unit" ] && any_there "$old_units/$unit" && ! any_there "$new_units/$unit"; then removed=1; fi
  is_there "$new_units/$base" || removed=1
  if [ -n "$removed" ]; then
    read_unit "$old_units/$base" "$old_units/$base.d"/*.conf
    [ "$stop_on_removal" = 0 ] || add to_stop "$unit"
  elif [ "${unit%.target}" != "$unit" ]; then
    consider_target "$unit"
  elif same_file "$old_units/$base" "$new_units/$base" && same_dropins "$old_units/$base" "$new_units/$base" &&
       same_dropins "$old_units/$unit" "$new_units/$unit"; then :
  else
    read_both "$unit" "$base"
    case $change in
      1) has "$to_restart" "$unit" || { add to_reload "$unit"; record reload "$unit"; } ;;
      2) modified "$unit" "$base" stop ;;
    esac
  fi
}

read_both() {
  if [ "$1" = "$2" ]; then
    read_unit "$old_units/$2" "$old_units/$2.d"/*.conf -- "$new_units/$2" "$new_units/$2.d"/*.conf
  else
    read_unit "$old_units/$2" "$old_units/$2.d"/*.conf "$old_units/$1.d"/*.conf \
      -- "$new_units/$2" "$new_units/$2.d"/*.conf "$new_units/$1.d"/*.conf
  fi
}

# A target that is active is started again at the end: this starts what is new in it.
consider_target() {
  read_unit "$new_units/$1" "$new_units/$1.d"/*.conf
  case $1 in
    suspend.target|hibernate.target|hybrid-sleep.target) ;;
    *)
      if [ "$refuse_start$only_by_hand" = 00 ]; then
        add to_start "$1"
        record start "$1"
        [ "${STC_DISPLAY_ALL_UNITS:-}" = 1 ] || add unshown "$1"
      fi ;;
  esac
  [ "$stop_on_reconfiguration" = 0 ] || add to_stop "$1"
}

# modified UNIT BASE HOW: HOW is `stop` before the activation; after it, where nothing can be stopped any more before
# the files change, `restart`. The unit was read.
modified() {
  case $1 in
    sysinit.target|basic.target|multi-user.target|graphical.target|*.path|*.slice|*.socket) return ;;
    -.mount|nix.mount) add to_reload "$1"; record reload "$1"; return ;;
    *.mount) add to_restart "$1"; record restart "$1"; return ;;
  esac
  if [ "$3" = stop ]; then taken=$to_stop; else taken=$to_restart; fi
  if [ "$reload_if_changed" = 1 ] && ! has "$to_restart" "$1" && ! has "$taken" "$1"; then
    add to_reload "$1"
    record reload "$1"
    return
  fi
  if [ "$restart_if_changed" = 0 ] || [ "$refuse_stop$only_by_hand" != 00 ]; then
    add to_skip "$1"
    return
  fi
  if [ "$stop_if_changed" = 0 ] || [ "${1%.service}" = "$1" ]; then
    add to_restart "$1"
    record restart "$1"
  else
    stop_and_start "$1" "$2" "$3"
  fi
  if has "$to_reload" "$1"; then
    to_reload=$(without "$1" "$to_reload")
    unrecord reload "$1"
  fi
}

# A service is stopped by its old files and started by its new ones; where sockets activate it, they are started instead.
stop_and_start() {
  by_socket=0
  if [ "$3" = stop ]; then first=to_stop again=start; else first=to_restart again=restart; fi
  stem=${2%.service}
  for socket in ${sockets:-${stem%@}.socket}; do
    if is_active_now "$socket"; then
      add $first "$socket"
      if [ -e "$new_units/$socket" ]; then
        add to_$again "$socket"
        record $again "$socket"
        by_socket=1
      fi
    elif [ -e "$new_units/$socket" ]; then
      by_socket=1
    fi
  done
  if [ "$not_socket_activated" = 1 ]; then by_socket=0; fi
  if [ "$by_socket" = 0 ]; then
    add to_$again "$1"
    record $again "$1"
  fi
  add $first "$1"
}

is_active_now() {
  case "
$before" in
    *"
$1 "*) return 0 ;;
  esac
  return 1
}
