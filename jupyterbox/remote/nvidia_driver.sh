# What files tell of NVIDIA's driver, to any account and with no GPU touched, in sections.
# nvidia-smi, modprobe and dkms are not run: as root, the first two load the module.
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
section() { printf '\n@@%s\n' "$1"; }

section os; cat /etc/os-release 2>/dev/null

running=$(uname -r)
# Debian's modules are called nvidia-current and the like; here is what `modprobe nvidia` loads.
module=$(cat /etc/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf 2>/dev/null |
  sed -n 's/^ *install  *nvidia  *modprobe .*\(nvidia-[a-z0-9-]*\).*/\1/p' | head -n 1)
module=${module:-nvidia}
section running; echo "$running"
section boot; for kernel in /boot/vmlinuz-*; do
  [ -e "$kernel" ] && echo "${kernel#/boot/vmlinuz-}"; done
section modules; for kernel in /lib/modules/*; do
  [ -d "$kernel" ] && kernel=${kernel##*/} &&
    echo "$kernel=$(modinfo -k "$kernel" -F version "$module" 2>/dev/null)"; done
section module; modinfo "$module" 2>/dev/null | grep -E '^(filename|license|signer|sig_key):'
section headers; [ -e "/lib/modules/$running/build/Makefile" ] && echo yes

section pci; for device in /sys/bus/pci/devices/*; do
  read -r vendor 2>/dev/null <"$device/vendor" && [ "$vendor" = 0x10de ] || continue
  read -r class <"$device/class"
  case $class in 0x03* | 0x0680*) ;; *) continue ;; esac
  read -r id <"$device/device"
  driver=$(readlink "$device/driver")
  config=$(od -An -tx1 -N2 "$device/config" 2>/dev/null | tr -d ' ')
  echo "${device##*/} $class $id config=$config driver=${driver##*/}"; done
section loaded; cat /sys/module/nvidia/version 2>/dev/null
section nvrm; cat /proc/driver/nvidia/version 2>/dev/null
section uvm; [ -d /sys/module/nvidia_uvm ] && [ -e /dev/nvidia-uvm ] && echo yes
section libraries; ldconfig -p 2>/dev/null |
  sed -n 's/.*lib\(cuda\|nvidia-ml\)\.so\.1 .*=> //p' |
  while read -r library; do readlink -f "$library"; done

section packages; dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\n' '*nvidia*' \
  'libcuda1*' 'cuda-drivers*' dkms unattended-upgrades 'linux-image-*' 'linux-headers-*' \
  2>/dev/null
section runfile; [ -e /usr/bin/nvidia-uninstall ] && echo yes
section repositories; for archive in cuda=developer.download.nvidia.com ppa=graphics-drivers; do
  { grep -lsE "^[^#]*${archive#*=}" /etc/apt/sources.list /etc/apt/sources.list.d/*.list
    # A paragraph of these may be switched off.
    awk -v RS= -v name="${archive#*=}" '{ there = 0; on = 1; lines = split(tolower($0), line, "\n")
      for (at = 1; at <= lines; at++) { if (line[at] ~ /^#/) continue
        if (index(line[at], name)) there = 1
        if (line[at] ~ /^enabled:[ \t]*(no|false|without|off|disable|0)[ \t]*$/) on = 0 }
      if (there && on) print FILENAME }' /etc/apt/sources.list.d/*.sources 2>/dev/null | uniq
  } | sed "s|^|${archive%%=*}=|"; done
section upgrades; apt-config dump 2>/dev/null |
  grep -E '^(APT::Periodic::(Enable|Unattended-Upgrade)|Unattended-Upgrade::Package-Blacklist)'

section secureboot; mokutil --sb-state 2>/dev/null ||
  od -An -tu1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null
section enrolled; mokutil --list-enrolled 2>/dev/null |
  grep -E -A 1 '^ *Serial Number:|^MokListRT is empty'
# As DKMS chooses the key that it signs with. The exit status of mokutil means now this, now that.
key=$(cat /etc/dkms/framework.conf /etc/dkms/framework.conf.d/*.conf 2>/dev/null |
  sed -n "s/^ *mok_certificate=[\"']*\([^\"' ]*\).*/\1/p" | tail -n 1 |
  sed "s|[$]{kernelver}|$running|")
usual=/var/lib/dkms/mok.pub
grep -qs '^ID=ubuntu' /etc/os-release && usual=/var/lib/shim-signed/mok/MOK.der
key=${key:-$usual}
section dkmskey; echo "$key"; mokutil --test-key "$key" 2>/dev/null
ls "$key" 2>&1 | grep -o 'No such file'
section reboot; [ -e /run/reboot-required ] && echo yes
section persistenced; systemctl show -p ActiveState -p ExecStart nvidia-persistenced 2>/dev/null
section end
