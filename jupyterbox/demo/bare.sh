#!/bin/sh
# Makes the bare server that mmdebstrap has just unpacked in $1 fit to share its host's network.
# Its text is part of the key that the root is cached under: a change here builds a new one.
set -eu
root=$1

# The locale is the same wherever the root was built.
echo 'LANG=C.UTF-8' > "$root/etc/default/locale"

# Every box gets host keys and an identity of its own when it is created.
rm -f "$root"/etc/ssh/ssh_host_*
: > "$root/etc/machine-id"

# The network and the clock are the host's, and several boxes share them: nothing in here may
# configure, resolve or fetch on its own. Masking a unit that the release lacks does no harm.
chroot "$root" systemctl --quiet mask \
    networking.service ifupdown-pre.service \
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service \
    networkd-dispatcher.service netplan-configure.service \
    systemd-resolved.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer motd-news.timer \
    ua-timer.timer ua-auto-attach.service esm-cache.service \
    e2scrub_all.timer fstrim.timer \
    console-getty.service getty@.service getty.target

# sshd listens where its own configuration says, hence no socket that systemd opens in its stead.
# Disabled first: where Ubuntu has it enabled, ssh.service requires it.
chroot "$root" systemctl --quiet disable ssh.socket
chroot "$root" systemctl --quiet mask ssh.socket
chroot "$root" systemctl --quiet enable ssh.service
mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"
ln -s /dev/null "$root/etc/systemd/system-generators/sshd-socket-generator"

# Two people who may do everything: for `ops` sudo asks nothing, for `opspw` its password.
for user in ops opspw; do
    chroot "$root" useradd --create-home --shell /bin/bash --groups sudo "$user"
    install -d -m 0700 "$root/home/$user/.ssh"
    chroot "$root" chown "$user:$user" "/home/$user/.ssh"
done
install -d -m 0700 "$root/root/.ssh"
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/ops"
chmod 0440 "$root/etc/sudoers.d/ops"
