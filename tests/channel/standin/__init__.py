"""A stand-in for the `conda` command, on py-rattler.

Real solver, real packages, real conda-meta; the command line, the JSON and the errors are those of
the recordings of real conda under tests/recorded/conda. It is installed as the package
`conda_standin` into the base environment by the stand-in installer, and is never part of the
product.

What it leaves out of conda: `init`, `search`, `compare`, `rename`, `doctor`, `env update`,
`create --file environment.yml`, install revisions, Terms of Service, link scripts of packages,
plugins, authentication, and shells other than POSIX ones.
"""

# The conda whose answers were recorded; what it prints of itself is this.
CONDA_VERSION = "26.7.1"
