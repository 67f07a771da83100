"""A local conda channel and a stand-in conda installer, from Python wheels and Debian's Python.

The conda hosts cannot be reached from every test machine. What the demo box and the tests need of
them is made here, from the Python and Debian registries alone, and served over plain HTTP through
the same settings that a site's own mirror would use. Nothing of it is on the product's path.

    python -m tests.channel build --cache DIR    build what is missing, say where it is
    python -m tests.channel serve --dir DIR --port PORT
    python -m tests.channel lock                 newer wheels into the lock files

debian_python and wheels make packages, metapackages those without files; condapkg packs them,
repodata indexes them, installer wraps the base environment's, build puts it all in one directory.
standin/ is the `conda` that the installer brings.
"""
