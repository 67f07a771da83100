"""Jupyterbox: what is neither a fact nor an operation (settings, commands, the demo box)."""

from jupyterbox.settings import Box, Conda, Environment, Gpu, Group, Hub, Mirrors, User

__version__ = "0.1.0"

__all__ = ["Box", "Conda", "Environment", "Gpu", "Group", "Hub", "Mirrors", "User"]
