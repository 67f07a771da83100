#!/bin/sh
# A stand-in for Miniforge's installer, made by tests/channel. What follows the last line of this
# script is a compressed tar archive of conda packages.
set -eu

PREFIX="${HOME:-/opt}/miniforge3"
BATCH=0
FORCE=0
LINES=@LINES@
SHA256=@SHA256@

usage() {
    cat <<EOF

usage: $0 [options]

Installs a stand-in for Miniforge3 @VERSION@

-b           run install in batch mode (without manual intervention),
             it is expected the license terms (if any) are agreed upon
-f           no error if install prefix already exists
-h           print this help message and exit
-p PREFIX    install prefix, defaults to $PREFIX, must not contain spaces.
-s           skip running pre/post-link/install scripts
-u           update an existing installation
EOF
}

while getopts "bfhkmp:stuc" option; do
    case "$option" in
        b) BATCH=1 ;;
        f|u) FORCE=1 ;;
        h) usage; exit 2 ;;
        p) PREFIX="$OPTARG" ;;
        c|k|m|s|t) ;;
        *) usage >&2; exit 1 ;;
    esac
done

if [ "$BATCH" = 0 ]; then
    printf '\nThe stand-in for Miniforge3 will now be installed into this location:\n%s\n\n' "$PREFIX"
    printf '  - Press ENTER to confirm the location\n  - Press CTRL-C to abort the installation\n'
    printf '  - Or specify a different location below\n\n[%s] >>> ' "$PREFIX"
    read -r answer || exit 1
    [ -z "$answer" ] || PREFIX="$answer"
fi

case "$PREFIX" in
    *\ *) echo "ERROR: Cannot install into directories with spaces" >&2; exit 1 ;;
    /*) ;;
    *) PREFIX="$(pwd)/$PREFIX" ;;
esac

if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
    printf "ERROR: File or directory already exists: '%s'\n" "$PREFIX" >&2
    echo "If you want to update an existing installation, use the -u option." >&2
    exit 1
fi

echo "PREFIX=$PREFIX"
found="$(tail -n +"$((LINES + 1))" "$0" | sha256sum)"
if [ "${found%% *}" != "$SHA256" ]; then
    echo "WARNING: sha256sum mismatch of tar archive" >&2
    echo "expected: $SHA256" >&2
    echo "     got: ${found%% *}" >&2
    exit 1
fi

mkdir -p "$PREFIX" || { echo "ERROR: Could not create directory: '$PREFIX'" >&2; exit 1; }
echo "Unpacking payload ..."
tail -n +"$((LINES + 1))" "$0" | tar -xzf - --no-same-owner -C "$PREFIX"

echo
echo "Installing base environment..."
echo
site=lib/python@PYTHON@/site-packages
modules=
for package in @BOOTSTRAP@; do
    modules="$PREFIX/pkgs/$package/$site:$modules"
done
PYTHONPATH="$modules" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 \
    "$PREFIX/pkgs/@INTERPRETER@/bin/python" -m conda_standin.bootstrap "$PREFIX"
rm -f "$PREFIX/.installing"
echo "installation finished."
exit 0
