#!/bin/bash
# "How To Install JupyterHub on a Local Server" (2020), step by step, as root on a bare box: what its
# readers have made by hand, for the deploy to adopt. A step that no longer works as it was written
# stands as the nearest one that does, with the reason; the others are the article's own.
#
# Where a site has mirrors, the tools' own variables name them: PIP_INDEX_URL, NPM_CONFIG_REGISTRY,
# CONDA_CHANNEL_ALIAS. Besides:
#   CONDA_INSTALLER     where the installer of conda comes from; Miniforge's by default
#   PYTHON_VERSION      of the environment; the article's 3.7 is nowhere any more
#   ENVIRONMENT         its name, and its kernelspec's: Jupyter takes the article's own, `python`, to
#                       mean `python3`, and starts the hub's Python in its place
#   HUB_PORT HUB_API_PORT PROXY_API_PORT   on a machine that shares its ports; 8000, 8081, 8001
set -euo pipefail
umask 022
export DEBIAN_FRONTEND=noninteractive
step() { echo "=== $*"; }

step "Setup JupyterHub and JupyterLab: a virtual environment in /opt/jupyterhub"
apt-get -q update
# The article has python3-venv on its machine, and curl; a server fresh from its installer does not.
apt-get -qy install python3-venv curl bzip2 >/dev/null
python3 -m venv /opt/jupyterhub/
/opt/jupyterhub/bin/python3 -m pip install -q wheel
/opt/jupyterhub/bin/python3 -m pip install -q jupyterhub jupyterlab
/opt/jupyterhub/bin/python3 -m pip install -q ipywidgets

step "The proxy, of Node"
apt-get -qy install nodejs npm >/dev/null
npm install --silent -g configurable-http-proxy

step "Create the configuration for JupyterHub"
mkdir -p /opt/jupyterhub/etc/jupyterhub/
cd /opt/jupyterhub/etc/jupyterhub/
# Without a terminal it fails where there is one already; the article has a terminal.
[ -e jupyterhub_config.py ] || /opt/jupyterhub/bin/jupyterhub --generate-config >/dev/null
grep -q "^c.Spawner.default_url" jupyterhub_config.py || {
    echo "c.Spawner.default_url = '/lab'"
    # Since JupyterHub 5 nobody may log in whom nothing allows to.
    echo "c.Authenticator.allow_all = True"
    if [ "${HUB_PORT:-}" ]; then
        echo "c.JupyterHub.bind_url = 'http://127.0.0.1:$HUB_PORT'"
        echo "c.JupyterHub.hub_port = $HUB_API_PORT"
        echo "c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:$PROXY_API_PORT'"
    fi
} >>jupyterhub_config.py

step "Setup Systemd service"
mkdir -p /opt/jupyterhub/etc/systemd
cat >/opt/jupyterhub/etc/systemd/jupyterhub.service <<'UNIT'
[Unit]
Description=JupyterHub
After=syslog.target network.target

[Service]
User=root
Environment="PATH=/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/opt/jupyterhub/bin"
ExecStart=/opt/jupyterhub/bin/jupyterhub -f /opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py

[Install]
WantedBy=multi-user.target
UNIT
ln -sfn /opt/jupyterhub/etc/systemd/jupyterhub.service /etc/systemd/system/jupyterhub.service
systemctl daemon-reload
systemctl -q enable jupyterhub.service
systemctl start jupyterhub.service

step "Conda environments: install conda for the whole system"
# The article adds Anaconda's apt repository, whose key Debian 13 refuses since February 2026; what
# it brings, conda in /opt/conda, its installer brings, too.
installer=${CONDA_INSTALLER:-https://github.com/conda-forge/miniforge/releases/latest/download/Miniforge3-Linux-x86_64.sh}
[ -x /opt/conda/bin/conda ] || {
    curl -fsSL "$installer" -o /root/conda.sh
    bash /root/conda.sh -b -p /opt/conda >/dev/null
}
ln -sfn /opt/conda/etc/profile.d/conda.sh /etc/profile.d/conda.sh

step "Install a default conda environment for all users"
mkdir -p /opt/conda/envs/
# --yes: nobody is there to answer. --channel: Anaconda's own, the article's, ask for their Terms of
# Service to be accepted.
environment=${ENVIRONMENT:-python}
[ -d "/opt/conda/envs/$environment" ] || /opt/conda/bin/conda create --quiet --yes --override-channels \
    --channel conda-forge --prefix "/opt/conda/envs/$environment" \
    "python=${PYTHON_VERSION:-3.13}" ipykernel >/dev/null
"/opt/conda/envs/$environment/bin/python" -m ipykernel install --prefix=/opt/jupyterhub/ \
    --name "$environment" --display-name "Python (default)"
