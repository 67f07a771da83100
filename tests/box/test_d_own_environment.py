"""The article's user session: an environment and a kernel of one's own, from JupyterLab's terminal.

And its administrator's: listing and removing kernelspecs.
"""

from __future__ import annotations

import json

from jupyterbox import layout
from tests.box.conftest import Operator
from tests.box.user import User

JUPYTER = f"{layout.ROOT}/bin/jupyter"


def test_a_user_makes_an_environment_and_its_kernel_for_nobody_else(
    box: Operator, ada: User, bob: User
) -> None:
    python = box.machine.conda.get("python", "3.11")
    with ada.terminal() as terminal:
        terminal.run(f"conda create --yes --name tf2 python={python} ipykernel", seconds=300)
        terminal.run("conda activate tf2")
        terminal.run('python -m ipykernel install --user --name tf2 --display-name "TF 2"')
        assert terminal.run("which python") == "/home/ada/.conda/envs/tf2/bin/python"

    assert ada.kernelspecs()["tf2"]["display_name"] == "TF 2"
    with ada.kernel("tf2") as kernel:
        where = kernel.execute("import sys; print(sys.executable, sys.prefix)")
        assert where == "/home/ada/.conda/envs/tf2/bin/python /home/ada/.conda/envs/tf2"
        home = kernel.execute("import os; print(os.path.expanduser('~'), os.getuid())")
        assert home == f"/home/ada {box.sh('id -u ada').strip()}"
    assert sorted(bob.kernelspecs()) == ["anaconda3", "python3"]


def test_a_users_kernel_of_a_published_name_does_not_hide_the_published_one(ada: User) -> None:
    with ada.terminal() as terminal:
        terminal.run("mkdir -p ~/.local/share/jupyter/kernels/python3")
        terminal.run(
            """echo '{"argv": ["/bin/false"], "display_name": "Mine", "language": "python"}' """
            "> ~/.local/share/jupyter/kernels/python3/kernel.json"
        )
        try:
            with ada.kernel("python3") as kernel:
                assert kernel.execute("import sys; print(sys.prefix)").startswith("/opt/conda/")
        finally:
            terminal.run("rm -r ~/.local/share/jupyter/kernels/python3")


def test_the_articles_commands_list_and_remove_a_kernelspec(box: Operator, ada: User) -> None:
    box.sh(
        f"cp -r {layout.KERNELS}/python3 {layout.KERNELS}/handmade && "
        f'sed -i \'s/"jupyterbox"/"by-hand"/\' {layout.KERNELS}/handmade/kernel.json'
    )
    listed = dict(line.split() for line in box.sh(f"{JUPYTER} kernelspec list").splitlines()[1:])
    # It names the release that it is of, whose kernels are the published ones.
    assert box.sh(f"realpath {listed['handmade']}").strip() == f"{layout.KERNELS}/handmade"
    found = json.loads(box.sh(f"{JUPYTER} kernelspec list --json"))["kernelspecs"]
    assert sorted(found) == ["anaconda3", "handmade", "python3"]
    assert "handmade" in ada.kernelspecs()
    # Made by hand: a deploy has no business with it.
    assert box.deploy()["success"] == 0

    box.sh(f"{JUPYTER} kernelspec remove -y handmade")
    assert sorted(json.loads(box.sh(f"{JUPYTER} kernelspec list --json"))["kernelspecs"]) == [
        "anaconda3",
        "python3",
    ]
    assert "handmade" not in ada.kernelspecs()
