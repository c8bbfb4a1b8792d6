# Activation of the minios system @out@: /etc/static and what hangs on it first, then the system's own snippet, and
# /run/current-system last. Like NixOS's, it goes on when the snippet fails and says so by its exit status.
# NIXOS_ACTION is `boot` when the host is starting, else what switch-to-configuration was asked for.

# On NixOS the network and sshd are units of the system too: going back to one where they worked mends them.
restore_access() {
  if [ -x /usr/local/lib/lab/network-up ]; then /usr/local/lib/lab/network-up; fi
  if [ "${NIXOS_ACTION:-}" != boot ]; then
    systemctl is-active -q ssh.service || systemctl start --no-block ssh.service || true
  fi
}

# Each name in /etc that the system has a file for, as a link through /etc/static; other systems' links go.
link_one() {
  if [ -e "/etc/static/$1" ] || [ -L "/etc/static/$1" ]; then
    mkdir -p "$(dirname "/etc/$1")"
    ln -sfn "/etc/static/$1" "/etc/$1"
  else
    case $(readlink "/etc/$1" || true) in /etc/static/*) rm -f "/etc/$1" ;; esac
  fi
}

set_etc() {
  # One rename, so that there is no moment without it.
  ln -sfn "$(readlink -f @out@/etc)" /etc/static.new
  mv -T /etc/static.new /etc/static
  for name in systemd/system systemd/user systemd/system.conf fstab; do link_one "$name"; done
  mkdir -p /etc/minios
  for old in /etc/minios/*; do
    if [ -L "$old" ]; then rm -f "$old"; fi
  done
  for new in /etc/static/minios/*; do
    if [ -e "$new" ]; then ln -sfn "$new" "/etc/minios/${new##*/}"; fi
  done
}

activate_system() {
  PATH=/usr/sbin:/usr/bin:/sbin:/bin:@out@/sw/bin
  export PATH
  status=0
  restore_access || status=1
  set_etc || status=1
  ( activation_snippet ) || { echo "Activation script snippet failed ($?)" >&2; status=1; }
  ln -sfn @out@ /run/current-system
  exit "$status"
}
