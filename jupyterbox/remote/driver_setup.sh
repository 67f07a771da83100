# What the GPU's layer of the deploy compares with what it declares, in sections.
# Nothing of the driver's is run: nvidia-smi, modprobe and dkms belong to boxes with a GPU.
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
section() { printf '\n@@%s\n' "$1"; }

section os; cat /etc/os-release 2>/dev/null
section architecture; dpkg --print-architecture 2>/dev/null

# Metapackages that bring kernels, and what may be held with them; not a kernel of one version.
section linux; dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'linux-*' 2>/dev/null |
  grep -E '^[ih]i +linux-(image-|headers-)?[a-z][a-z0-9.-]*$' |
  grep -vE ' linux-(image|headers)-(unsigned|extra|uc)-|-dbg$'
kinds=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'linux-image-[a-z]*' 2>/dev/null |
  sed -n 's/^[ih]i *linux-image-//p' | sed 's/virtual/generic/' | tr '\n' '|')
section modules; [ "$kinds" ] && apt-cache pkgnames linux-modules-nvidia- 2>/dev/null |
  grep -E "^linux-modules-nvidia-[0-9]+-server(-open)?-(${kinds%|})\$"
# A package that only brings its successor has a version of its own, and no kernel part.
section candidates; apt-cache show --no-all-versions nvidia-kernel-dkms nvidia-open-kernel-dkms \
  $(apt-cache pkgnames nvidia-headless-no-dkms- 2>/dev/null | grep -E -- '-server(-open)?$') \
  2>/dev/null | awk '/^Package: / { name = $2 } /^Version: / { version = $2 }
    /^Depends: .*nvidia-(open-)?kernel-(common|support)/ { print name "=" version }'
section headers; apt-cache show --no-all-versions "linux-headers-$(uname -r)" 2>/dev/null |
  sed -n 's/^Package: //p'
section archives; apt-get -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= indextargets \
  --no-release-info --format '$(RELEASE) $(COMPONENT) $(SOURCESENTRY)' 'Created-By: Packages' \
  2>/dev/null | sort -u

section files; sha256sum {files} 2>/dev/null
section initramfs; for image in /boot/initrd.img-*; do
  [ -e "$image" ] && [ ! "$image" -nt {blacklist} ] && [ -e {blacklist} ] && echo "$image"; done

unit=nvidia-persistenced.service
section persistenced; for folder in /etc /run /usr/lib /lib; do
  sed -n 's/^ExecStart=/exec=/p' $folder/systemd/system/$unit 2>/dev/null; done | head -n 1
[ -e /etc/systemd/system/multi-user.target.wants/$unit ] && echo wanted=yes
main=$(systemctl show -p MainPID --value $unit 2>/dev/null)
[ "${main:-0}" != 0 ] && echo "runs=$(tr '\0' ' ' <"/proc/$main/cmdline")"
section end
