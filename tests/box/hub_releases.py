"""Other releases of a box's hub, made of the one that is there: in a second, and they run."""

from __future__ import annotations

from jupyterbox import layout
from tests.box.conftest import Operator

LIKE = """set -e
cd {releases}; rm -rf {name}; cp -al {release} {name}
for file in {name}/bin/* {name}/pyvenv.cfg; do
    [ ! -L $file ] && grep -qI {release} $file && sed -i s/{release}/{name}/g $file
done
sed -i 's/"declared": "[^"]*"/"declared": "{name}"/; s/"id": "[^"]*"/"id": "{name}"/' \
    {name}/release.json"""

# On top of the last one, which JupyterHub does not mind.
MIGRATION = """import sqlalchemy as sa
from alembic import op

revision = "abcdef012345"
down_revision = "{head}"


def upgrade():
    op.create_table("of_a_newer_hub", sa.Column("id", sa.Integer, primary_key=True))
"""


def current(box: Operator) -> str:
    """The hub's release."""
    return box.sh(f"basename $(readlink {layout.CURRENT})").strip()


def release_like(box: Operator, name: str) -> str:
    """Make a release that is as the current one; its directory."""
    box.sh(LIKE.format(releases=layout.RELEASES, release=current(box), name=name))
    return f"{layout.RELEASES}/{name}"


def release_of_a_newer_schema(box: Operator, name: str) -> None:
    """Make one that wants another schema of the database."""
    prefix = release_like(box, name)
    scripts = f"$(echo {prefix}/lib/*/site-packages/jupyterhub/alembic/versions)"
    migration = MIGRATION.format(head=schema(box))
    box.machine.run(f"cat > {scripts}/abcdef012345_test.py", input=migration, check=True)


SQLITE = (
    "/usr/bin/python3 -c 'import sqlite3, sys; "
    'print(sqlite3.connect("{path}").execute(sys.argv[1]).fetchall())\''
)


def schema(box: Operator) -> str:
    """The schema of the hub's database."""
    rows = box.sh(f"{SQLITE.format(path=layout.DATABASE)} 'SELECT * FROM alembic_version'")
    return rows.strip("[](), '\n")
