"""Programs for the box's own Python; see jupyterbox.program."""
