"""A local conda channel and a stand-in conda installer, from Python wheels and Debian's Python.

The conda hosts cannot be reached from every test machine. What the demo box and the tests need of
them is made here, from the Python and Debian registries alone, and served over plain HTTP through
the same settings that a site's own mirror would use. Nothing of it is on the product's path.
"""
