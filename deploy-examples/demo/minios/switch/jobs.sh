# Jobs of systemd, the lists of what is still to be done, and the bus. Sourced; needs $scope (system or user),
# $lists (their folder), $action, $age. `told` is what to call a unit in messages: "", or "user " for a user's.
status=0
ended=
to_stop= to_start= to_restart= to_reload= to_skip= unshown=

has() { case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac; }

# add NAME UNIT: to the list in the variable NAME, once.
add() {
  eval "items=\$$1"
  has "$items" "$2" || eval "$1=\"\$items \$2\""
}

without() {
  kept=
  for item in $2; do [ "$item" = "$1" ] || kept="$kept $item"; done
  printf '%s' "$kept"
}

sorted() { printf '%s\n' "$@" | sort -f | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $0 } END { print "" }'; }

tell() {
  verb=$1 what=$2
  shift 2
  if [ $# -gt 0 ]; then echo "$verb the following $what: $(sorted "$@")" >&2; fi
}

# What is recorded here outlives us: the next run, of whatever system, goes on with it.
record() { if [ "$action" != dry-activate ]; then echo "$2" >> "$lists/$1-list"; fi; }

unrecord() {
  if [ "$action" != dry-activate ] && [ -e "$lists/$1-list" ]; then
    grep -vxF -e "$2" "$lists/$1-list" > "$lists/$1-list.new"
    cat "$lists/$1-list.new" > "$lists/$1-list"
    rm -f "$lists/$1-list.new"
  fi
}

take_up_lists() {
  for unit in $(cat "$lists/start-list" 2> /dev/null); do add to_start "$unit"; done
  for unit in $(cat "$lists/restart-list" 2> /dev/null); do add to_restart "$unit"; done
  for unit in $(cat "$lists/reload-list" 2> /dev/null); do add to_reload "$unit"; done
}

ctl() {
  if [ "$scope" = user ]; then systemctl --user --no-pager "$@" 9>&-
  else systemctl --no-pager "$@" 9>&-
  fi
}

# Whatever the bus does to us, it does to the real one, which holds one connection from beginning to end. `watch_bus`
# holds one too: when it has ended, the bus was lost, if only for a moment.
watch_bus() {
  /usr/bin/setpriv --pdeathsig KILL busctl --match="sender='org.minios.nobody'" monitor > /dev/null 2>&1 9>&- &
  bus_watch=$!
}

bus_lost() {
  if [ "$age" = 2024 ]; then while :; do sleep 60 9>&-; done; fi
  echo "Error: $1" >&2
  finish 1
}

check_bus() {
  if [ "$scope" = user ]; then return 0; fi
  kill -0 "$bus_watch" 2> /dev/null || bus_lost "$1"
}

finish() {
  [ -z "${bus_watch:-}" ] || kill "$bus_watch" 2> /dev/null
  exit "$1"
}

# Runs one systemctl over all services, which it names when their jobs fail, and one for each other unit, which it
# doesn't: there the line is given the name. All at once, as the real one asks for a job each before it waits.
systemctl_jobs() {
  verb=$1
  shift
  services= waiting= box=$lists/jobs.$$
  mkdir -p "$box"
  for unit in "$@"; do
    case $unit in
      *.service) services="$services $unit" ;;
      *) ctl "$verb" -- "$unit" 2>&1 | unit=$unit awk '/^Job failed[.]/ { print "Job for " ENVIRON["unit"] " failed."; next } { print }' > "$box/$unit" 9>&- &
         waiting="$waiting $!" ;;
    esac
  done
  if [ -n "$services" ]; then ctl "$verb" -- $services > "$box/services" 2>&1; fi
  if [ -n "$waiting" ]; then wait $waiting; fi
  said=$(cat "$box"/*)
  rm -rf "$box"
}

# run_jobs VERB UNIT…: one job a unit, and the end of all of them. How each ended is what systemctl says of it.
run_jobs() {
  verb=$1
  shift
  [ $# -gt 0 ] || return 0
  systemctl_jobs "$verb" "$@"
  case $said in
    *"Failed to connect to bus"*|*"connection terminated"*|*"Failed to wait for response"*|*"Connection reset by peer"*|*"Transport endpoint"*)
      [ "$scope" = user ] || bus_lost "Failed to process dbus messages while waiting for jobs" ;;
  esac
  check_bus "Failed to process dbus messages while waiting for jobs"
  job_lines=$(printf '%s\n' "$said" | sed -n \
    -e "s/^Job for \(.*\) failed.*/Failed to $verb $told\1/p" \
    -e "s/^Job for \(.*\) timed out.*/Failed to $verb $told\1/p" \
    -e "s/^A dependency job for \(.*\) failed.*/Failed to $verb $told\1/p")
  if [ -n "$job_lines" ]; then
    ended="$ended$job_lines
"
  fi
  # A stop that systemd doesn't even take is passed over.
  if [ "$verb" != stop ]; then
    refused=$(printf '%s\n' "$said" | sed -n "s/^Failed to $verb /Failed to $verb $told/p")
    if [ -n "$refused" ]; then printf '%s\n' "$refused" >&2; status=4; fi
  fi
}

tell_ended_jobs() { if [ -n "$ended" ]; then printf '%s' "$ended" >&2; status=4; fi; }
