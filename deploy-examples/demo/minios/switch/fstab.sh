# What a changed fstab asks for. Sourced after jobs.sh; needs $etc, the new system's /etc.

# DEVICE PLACE TYPE OPTIONS of each entry. A line with a "#" anywhere in it is none.
entries() { awk '!/#/ && NF >= 3 { print $1, $2, $3, ($4 == "" ? "-" : $4) }' "$1" 2> /dev/null; }

entry_of() { entries "$etc/fstab" | awk -v place="$1" '$2 == place && $3 != "swap"' | tail -n 1; }

compare_fstab() {
  [ -e /etc/fstab ] || return 0
  while read -r device place type options; do
    if [ -z "$device" ]; then continue; fi
    if [ "$type" = swap ]; then swap_off "$device"; continue; fi
    mount=$(systemd-escape -p --suffix=mount "$place")
    set -- $(entry_of "$place")
    if [ $# -eq 0 ]; then
      case $options in
        *x-systemd.automount*) add to_stop "${mount%.mount}.automount" ;;
        *) add to_stop "$mount" ;;
      esac
    elif [ "$1 $3" != "$device $type" ]; then
      case $place in
        /|/nix) if [ "$4" = "$options" ]; then add to_skip "$mount"; else add to_reload "$mount"; record reload "$mount"; fi ;;
        *) add to_restart "$mount"; record restart "$mount" ;;
      esac
    elif [ "$4" != "$options" ]; then
      add to_reload "$mount"
      record reload "$mount"
    fi
  done <<END
$(entries /etc/fstab)
END
}

swap_off() {
  if entries "$etc/fstab" | awk '$3 == "swap" { print $1 }' | grep -qxF -e "$1"; then return; fi
  if [ "$action" = dry-activate ]; then
    echo "would stop swap device: $1" >&2
  else
    echo "stopping swap device: $1" >&2
    why=$(swapoff "$1" 2>&1) || echo "Failed to stop swapping to $1: $why" >&2
  fi
}
