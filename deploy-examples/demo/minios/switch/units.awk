# Compares two versions of a unit, by sections and keys:  awk -f units.awk side=old FILE… side=new FILE…
# Prints shell assignments: change (0 none, 1 a reload will do, 2 a restart is due), and what the units say
# about how they want to be treated. Without new files all of it is told of the old ones.

BEGIN {
  no_matter = " X-Reload-Triggers Description Documentation OnFailure OnSuccess OnFailureJobMode IgnoreOnIsolate" \
    " StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate CollectMode SourcePath "
}

FNR == 1 { section = "" }

{
  line = $0
  sub(/^[ \t]+/, "", line)
  sub(/[ \t\r]+$/, "", line)
}

line == "" || line ~ /^[#;]/ { next }

line ~ /^\[.*\]$/ {
  section = substr(line, 2, length(line) - 2)
  if (section != "Install") sections[side, section] = 1
  next
}

section == "" || section == "Install" { next }

{
  equals = index(line, "=")
  if (equals == 0) next
  key = substr(line, 1, equals - 1)
  value = substr(line, equals + 1)
  sub(/[ \t]+$/, "", key)
  sub(/^[ \t]+/, "", value)
  id = section SUBSEP key
  has[side, id] = 1
  known[id] = 1
  # An empty value takes back what was said before, as in a drop-in.
  if (value == "") { all[side, id] = last[side, id] = ""; next }
  all[side, id] = all[side, id] "\n" value
  last[side, id] = value
}

# What it takes to bring a difference of one key into effect. how: gone, changed, added.
function weight(section, key, how) {
  if (section == "Unit" && key == "X-Reload-Triggers") return how != "gone"
  if (section == "Unit" && index(no_matter, " " key " ")) return 0
  if (section == "Service" && key == "ExecReload") return how != "gone"
  if (section == "Mount" && key == "Options" && how == "changed") return 1
  return 2
}

function compare(   id, part, of, at_most, got, name, keys, added) {
  for (id in known) {
    split(id, part, SUBSEP)
    keys[part[1]]++
    if (has["old", id] && has["new", id]) got = all["old", id] == all["new", id] ? 0 : weight(part[1], part[2], "changed")
    else got = weight(part[1], part[2], has["old", id] ? "gone" : "added")
    if (got > at_most) at_most = got
  }
  for (name in sections) {
    split(name, of, SUBSEP)
    if (of[1] == "old" && !(("new", of[2]) in sections) && of[2] != "Unit" && !keys[of[2]]) at_most = 2
    if (of[1] == "new" && !(("old", of[2]) in sections)) {
      added++
      if (of[2] != "Unit" && !keys[of[2]]) at_most = 2
    }
  }
  return added > 1 ? 2 : at_most + 0
}

function truth(section, key, otherwise,   id) {
  id = section SUBSEP key
  if (!has[side, id]) return otherwise
  return last[side, id] ~ /^(1|yes|true|on)$/ ? 1 : 0
}

END {
  printf "change=%d\n", compare()
  printf "reload_if_changed=%d\n", truth("Service", "X-ReloadIfChanged", 0)
  printf "restart_if_changed=%d\n", truth("Service", "X-RestartIfChanged", 1)
  printf "stop_if_changed=%d\n", truth("Service", "X-StopIfChanged", 1)
  printf "not_socket_activated=%d\n", truth("Service", "X-NotSocketActivated", 0)
  printf "refuse_stop=%d\n", truth("Unit", "RefuseManualStop", 0)
  printf "refuse_start=%d\n", truth("Unit", "RefuseManualStart", 0)
  printf "only_by_hand=%d\n", truth("Unit", "X-OnlyManualStart", 0)
  printf "stop_on_reconfiguration=%d\n", truth("Unit", "X-StopOnReconfiguration", 0)
  printf "stop_on_removal=%d\n", truth("Unit", "X-StopOnRemoval", 1)
  sockets = all[side, "Service" SUBSEP "Sockets"]
  gsub(/[^A-Za-z0-9:_.@\\ \n-]/, "", sockets)
  gsub(/\n/, " ", sockets)
  printf "sockets='%s'\n", sockets
}
