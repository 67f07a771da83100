# What the GPU's layer of the deploy compares with what it declares, in sections.
# Nothing of the driver's is run: nvidia-smi, modprobe and dkms belong to boxes with a GPU.
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
section() { printf '\n@@%s\n' "$1"; }
lists=/var/lib/apt/lists

section os; cat /etc/os-release 2>/dev/null
section architecture; dpkg --print-architecture 2>/dev/null

# Metapackages that bring kernels, and what may be held with them; not a kernel of one version.
section linux; dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'linux-*' 2>/dev/null |
  grep -E '^[ih]i +linux-(image-|headers-)?[a-z][a-z0-9.-]*$' |
  grep -vE ' linux-(image|headers)-(unsigned|extra|uc)-|-dbg$'
kinds=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'linux-image-[a-z]*' 2>/dev/null |
  sed -n 's/^[ih]i *linux-image-//p' | sed 's/virtual/generic/')
# The kernel that runs, and the one that boots next.
kernels=$(uname -r; for kernel in /boot/vmlinuz-*; do
  [ -e "$kernel" ] && echo "${kernel#/boot/vmlinuz-}"; done | sort -V | tail -n 1)
named() { apt-cache pkgnames "$1" 2>/dev/null | grep -E -- "$2"; }
# Every version of some packages, the highest first, with its archive: name, version, site, suite.
versions() { [ "$1" ] && apt-cache madison "$@" 2>/dev/null |
  awk '{ sub("/.*", "", $6); print $1, $3, $5, $6 }'; }

section modules; versions $(named linux-modules-nvidia- \
  "^linux-modules-nvidia-[0-9]+-server(-open)?-($(echo $kinds $kernels | tr ' ' '|'))\$")
drivers="nvidia-kernel-dkms nvidia-open-kernel-dkms $(named nvidia-headless-no-dkms- \
  '-server(-open)?$') $(named nvidia-fabricmanager- '-[0-9]+$')"
section candidates; versions $drivers
# A package that only brings its successor has a version of its own, and no kernel part.
section whole; apt-cache show $drivers 2>/dev/null | awk '/^Package: / { name = $2 }
  /^Version: / { version = $2 } /^Depends: .*nvidia-(open-)?kernel-(common|support)/ {
  print name, version }'
section cuda; grep -qs '^Origin: NVIDIA' $lists/*Release && versions nvidia-driver-cuda \
  libnvidia-compute $(named libnvidia-compute- '-[0-9]+$')
# DKMS builds with the headers of a kernel: of which there are none, and apt has them.
section headers; for kernel in $kernels; do [ -e "/lib/modules/$kernel/build/Makefile" ] ||
  apt-cache show --no-all-versions "linux-headers-$kernel" 2>/dev/null |
  sed -n 's/^Package: linux-headers-//p'; done | sort -u
section archives; apt-get -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= indextargets \
  --no-release-info --format '$(SITE) $(FILENAME) $(RELEASE) $(COMPONENT) $(SOURCESENTRY)' \
  'Created-By: Packages' 2>/dev/null | sort -u
# Whose they are, as far as apt has fetched them.
section origins; grep -Hsm 1 '^Origin: ' $lists/*Release

section files; sha256sum {files} 2>/dev/null
section initramfs; for image in /boot/initrd.img-*; do
  [ -e "$image" ] && [ ! "$image" -nt {blacklist} ] && [ -e {blacklist} ] && echo "$image"; done

unit=nvidia-persistenced.service
section persistenced; for folder in /etc /run /usr/lib /lib; do
  sed -n 's/^ExecStart=/exec=/p' $folder/systemd/system/$unit 2>/dev/null; done | head -n 1
[ -e /etc/systemd/system/multi-user.target.wants/$unit ] && echo wanted=yes
main=$(systemctl show -p MainPID --value $unit 2>/dev/null)
[ "${main:-0}" != 0 ] && echo "runs=$(tr '\0' ' ' <"/proc/$main/cmdline")"
unit=nvidia-fabricmanager.service
section fabric; systemctl show -p LoadState -p UnitFileState -p ActiveState $unit 2>/dev/null
section end
