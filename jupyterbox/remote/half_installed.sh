# What dpkg cannot configure since DKMS cannot build is taken off again: half way, it would be in the
# way of everything that apt does on the box from then on. A deploy puts this before what it runs.
log={log}
# DKMS takes it away once it has built.
failed='/var/lib/dkms/nvidia*/*/build/make.log'

packages() { dpkg-query -W -f '${db:Status-Status} ${Package}=${Version}\n' "$@" 2>/dev/null; }
half() { packages "$@" | sed -nE 's/^(half-configured|unpacked) (.*)=.*/\2/p'; }
remove() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -y -qq -o DPkg::Lock::Timeout=300 \
    --allow-change-held-packages remove "$@" >/dev/null 2>&1
}
keep_log() { cat $failed >"$log" 2>/dev/null; grep -m 3 -h error: "$log" >&2; }

# What an earlier run left; dpkg would build it, and fail, before anything else.
cleared() {
  set -- $(half 'nvidia-*' | grep -xE '{dkms}')
  ls $failed >/dev/null 2>&1 && set -- "$@" $(half 'linux-headers-*')
  [ $# = 0 ] || remove "$@"
  :
}

without_module() {
  [ "$(half "$1")" ] || return
  keep_log
  remove "$1"
  echo "$1 was not installed: does it build for every kernel? See $log." >&2
}

# With a kernel's headers, DKMS builds for it. Where that fails, what came with them goes again, and
# what they replaced returns, as far as apt still has it.
remember() { was=" $(packages 'linux-*' | sed -n 's/^installed //p' | tr '\n' ' ')"; }
without_headers() {
  half=$(half 'linux-headers-*' | tr '\n' ' ')
  [ "$half" ] || return
  keep_log
  old= new=
  for found in $(packages 'linux-*' |
    sed -nE 's/^(installed|half-configured|unpacked|half-installed) //p'); do
    name=${found%%=*}
    case $was in
    *" $found "*) ;;
    *" $name="*) before=${was#*" $name="} old="$old $name=${before%% *}" ;;
    *) new="$new $name" ;;
    esac
  done
  $apt -qq $old $(for name in $new; do echo "$name-"; done) >/dev/null 2>&1 || remove $new
  echo "Not installed: ${half% }. Does the driver's module build for that kernel? See $log." >&2
}
