#!/bin/sh
# Run once in a chroot when a layer is built: users, units, and the first system if a flake was put in /tmp.
set -eu
chmod 755 /usr/local/lib/lab/*
chmod 440 /etc/sudoers.d/lab
chmod 700 /root

for user in deploy plain; do
  id -u "$user" > /dev/null 2>&1 || useradd -m -s /bin/bash "$user"
  usermod -p '*' "$user"
done
rm -f /root/.bashrc /home/*/.bashrc /etc/update-motd.d/* /etc/motd

systemctl -q enable lab-network.service minios-boot.service ssh.service nix-daemon.socket
systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
  e2scrub_reap.service fstrim.timer getty@tty1.service console-getty.service systemd-resolved.service \
  systemd-networkd.service systemd-networkd-wait-online.service systemd-timesyncd.service \
  systemd-pstore.service systemd-udevd.service systemd-firstboot.service
systemctl -q set-default multi-user.target
# sshd that answers every burst of failed logins by penalties (9.8 on) would make tests wait.
echo 'PerSourcePenalties no' >> /etc/ssh/sshd_config.d/lab.conf
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/key
sshd -t -h /tmp/key 2> /dev/null || sed -i '/PerSourcePenalties/d' /etc/ssh/sshd_config.d/lab.conf
rm -f /tmp/key /tmp/key.pub

# As on NixOS these belong to the running system, and to nobody else: what Debian has there lies where systemd looks too.
for kind in system user; do
  mkdir -p "/usr/local/lib/systemd/$kind" "/etc/systemd/$kind"
  cp -a "/etc/systemd/$kind/." "/usr/local/lib/systemd/$kind/"
  rm -rf "/etc/systemd/${kind:?}"
  ln -s "/etc/static/systemd/$kind" "/etc/systemd/$kind"
done
# /etc/xdg/systemd/user: another name of /etc/systemd/user, by which systemd would know its units.
rm -f /etc/systemd/system.conf /etc/fstab /etc/xdg/systemd/user
# A login over ssh makes no session of logind's: a manager for each would make all that logs in slow.
sed -i '/pam_systemd[.]so/d' /etc/pam.d/common-session
# A user whose manager runs whether or not they are logged in.
mkdir -p /var/lib/systemd/linger
touch /var/lib/systemd/linger/plain

mkdir -p /boot/minios /var/log/journal /nix/var/nix/gcroots
ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system

if [ -d /tmp/flake ]; then
  out=$(nix --extra-experimental-features 'nix-command flakes' eval --raw path:/tmp/flake#factory)
  nix --extra-experimental-features 'nix-command flakes' --option build-users-group '' \
    build --no-link path:/tmp/flake#factory
  nix-env -p /nix/var/nix/profiles/system --set "$out"
  echo "$out" > /boot/minios/default
fi
