# Activation of the minios system @out@: links the units and files of this system, runs its snippet, and makes
# it /run/current-system. Like NixOS's, it goes on when the snippet fails and says so by its exit status.
# NIXOS_ACTION is `boot` when the host is starting, else what switch-to-configuration was asked for.

link_units() {
  units=/run/systemd/system
  mkdir -p "$units/minios.target.wants"
  printf '[Unit]\nDescription=Units of the minios system\n' > "$units/minios.target"
  for link in "$units"/* "$units"/minios.target.wants/*; do
    case $(readlink "$link" || true) in
      /nix/store/*) rm -f "$link" ;;
    esac
  done
  for unit in @out@/etc/systemd/system/*; do
    [ -e "$unit" ] || continue
    target=$(readlink -f "$unit")
    ln -sfn "$target" "$units/${unit##*/}"
    ln -sfn "$target" "$units/minios.target.wants/${unit##*/}"
  done
}

link_files() {
  mkdir -p /etc/minios
  for old in /etc/minios/*; do
    if [ -L "$old" ]; then rm -f "$old"; fi
  done
  for new in @out@/etc/minios/*; do
    if [ -e "$new" ]; then ln -sfn "$(readlink -f "$new")" "/etc/minios/${new##*/}"; fi
  done
}

# On NixOS the network and sshd are units of the system too: going back to one where they worked mends them.
restore_access() {
  if [ -x /usr/local/lib/lab/network-up ]; then /usr/local/lib/lab/network-up; fi
  if [ "${NIXOS_ACTION:-}" != boot ]; then
    systemctl is-active -q ssh.service || systemctl start --no-block ssh.service || true
  fi
}

activate_system() {
  PATH=/usr/sbin:/usr/bin:/sbin:/bin:@out@/sw/bin
  export PATH
  status=0
  echo "activating the configuration @out@..."
  restore_access || status=1
  link_units
  link_files
  ( activation_snippet ) || { echo "Activation script snippet failed ($?)" >&2; status=1; }
  ln -sfn @out@ /run/current-system
  exit "$status"
}
