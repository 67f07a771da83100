"""Your boxes: copy this file, keep what differs, and run

    pyinfra inventories/YOURS.py deploy.py

The three lines that deploy the article's box are the import and the list at the end. Everything
else shows what can be said; the defaults are written out where they are not obvious. A name or a
value that is not allowed is refused when this file loads, before anything connects. All settings
with their meaning: docs/settings.md and jupyterbox/settings.py.
"""

from jupyterbox import Box

# from jupyterbox import Conda, Environment, Gpu, Group, Hub, Mirrors, User

boxes = [
    Box(
        # Who may log in, and where the hub listens. With neither users nor groups named, every
        # local account may, as in the article; root and service accounts never.
        # hub=Hub(
        #     port=8000,
        #     allowed_groups=["lab"],
        #     admins=["ada"],
        #     extra_config="c.JupyterHub.active_server_limit = 40",
        # ),
        # Global environments, each published as a kernel. One must be called python3: it is the
        # default kernel. What you name here takes the place of the two default ones.
        # environments=[
        #     Environment(
        #         name="python3",
        #         title="Python 3.13 (default)",
        #         conda=["python=3.13", "ipykernel", "pip", "numpy", "pandas"],
        #     ),
        #     # Most of machine learning is on the Python index: pip packages go in after conda's.
        #     Environment(
        #         name="torch",
        #         title="PyTorch",
        #         conda=["python=3.12", "ipykernel", "pip"],
        #         pip=["torch", "transformers"],
        #         variables={"HF_HOME": "/data/huggingface"},
        #     ),
        #     Environment(name="course", title="Data analysis", file="course/environment.yml"),
        #     Environment(name="paper", title="Paper, 2026", lock="paper/conda-linux-64.lock"),
        #     Environment(name="r", title="R 4", conda=["r-base=4", "r-irkernel"]),
        # ],
        # Accounts to make. `openssl passwd -6` makes a hash; users change their password later,
        # and it stays changed. Accounts that are not named here stay as they are.
        # groups=[Group(name="lab")],
        # users=[User(name="ada", groups=["lab"], password_hash="$6$...")],
        # The driver of NVIDIA's GPUs, and its guard against upgrades that would split it.
        # Debian has older branches than Ubuntu; NVIDIA's own repository has 580 for both.
        # gpu=Gpu(branch="580", source="cuda"),
        # A site with mirrors or an intercepting proxy of its own.
        # mirrors=Mirrors(
        #     apt="http://mirror.example.org/debian",
        #     python="https://mirror.example.org/pypi/simple",
        #     npm="https://mirror.example.org/npm",
        #     conda="https://mirror.example.org/conda",
        # ),
        # ca_certificates=["certificates/example-root.crt"],
        # conda=Conda(channels=["conda-forge", "bioconda"]),
    ).at("hub.example.org", ssh_user="root"),
]
