#!/bin/sh
# Keeps a box running where no systemd runs the host: keep.sh GROUPS COMMAND...
# GROUPS are directories of control groups, one for each hierarchy; they hold nothing but this box,
# and in `box` below them the systemd of the box finds itself at the top.
set -eu
groups=$1
shift

for group in $groups; do
    mkdir -p "$group/box"
    echo 0 > "$group/cgroup.procs"
done

# systemd-nspawn ends with 133 where a service of systemd is to start it again: the box reboots.
# In braces, since a shell reads a script as it goes, and this one may be edited meanwhile.
{
    while
        status=0
        (
            for group in $groups; do
                echo 0 > "$group/box/cgroup.procs"
            done
            exec "$@"
        ) || status=$?
        [ "$status" -eq 133 ]
    do :; done
    exit "$status"
}
