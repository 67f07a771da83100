"""Kernelspecs: every environment's own kernels, published to every user under its name."""

from __future__ import annotations

from typing import Any, NamedTuple

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import OperationError

from facts.jupyter import Kernelspec, Offer, PublishedKernelspecs
from jupyterbox import layout
from jupyterbox.program import Commands, program
from jupyterbox.settings import Box, Environment
from operations import releases
from operations.asking import ask


class Published(NamedTuple):
    """A kernelspec as it shall stand, and the directory that its logos come from."""

    spec: Kernelspec
    source: str


@deploy("Kernelspecs")
def publish(box: Box) -> None:
    """The kernels of the declared environments, and no others of ours."""
    kernelspecs(name="Publish the environments' kernels", box=box)


@operation()
def kernelspecs(box: Box) -> Commands:
    """Publish each environment's kernelspecs; remove ours whose environment is not declared.

    A kernelspec that somebody else put there stays, unless an environment has its name. Then
    releases go that are too old to be kept, since from now on no kernelspec names them.

    + box: its environments, and how many releases it keeps
    """
    state = ask(PublishedKernelspecs, **asked(box))
    offers = state["offered"]
    unbuilt = [e.name for e in box.environments if not is_built(e, box, offers.get(e.name))]
    if unbuilt:
        # While planning, these are about to be built; when this is executed, they are.
        yield f"echo 'no kernel to publish in: {', '.join(unbuilt)}.' >&2; exit 1"
        return
    wanted = plan(box.environments, offers)
    published = state["published"]
    stale = [name for name, spec in published.items() if name not in wanted and ours(spec)]
    changed = [name for name in wanted if published.get(name) != wanted[name].spec]
    old = unnamed(state["surplus"], [f"{layout.KERNELS}/{name}" for name in [*changed, *stale]])
    if not changed and not stale and not old:
        host.noop("the published kernelspecs are the declared environments'")
    yield from written(wanted, changed, stale)
    root = box.conda.root
    for name, ids in old.items():
        yield releases.prune(f"{root}/releases/{name}", f"{root}/envs/{name}", ids)


def asked(box: Box) -> dict[str, Any]:
    """What the published kernelspecs' fact is asked."""
    names = [environment.name for environment in box.environments]
    return {"conda_root": box.conda.root, "environments": names, "keep": box.keep}


def published_of(environment: str, release: str, box: Box) -> Commands:
    """Publish the kernelspecs of one release of one environment, in place of those it has.

    + environment: its name; one that is not declared has none that are published
    + release: its id
    + box: the environment's title and variables
    """
    declared = [known for known in box.environments if known.name == environment]
    if not declared:
        return
    state = host.get_fact(
        PublishedKernelspecs,
        conda_root=box.conda.root,
        environments=[environment],
        releases={environment: release},
    )
    wanted, published = plan(declared, state["offered"]), state["published"]
    stale = [n for n, spec in published.items() if n not in wanted and ours(spec, environment)]
    changed = [name for name in wanted if published.get(name) != wanted[name].spec]
    yield from written(wanted, changed, stale)


def written(wanted: dict[str, Published], changed: list[str], stale: list[str]) -> Commands:
    """Bring the published kernelspecs to what is wanted."""
    for name in changed:
        spec, source = wanted[name]
        yield program(
            "publish_kernelspec", kernels=layout.KERNELS, name=name, spec=spec, source=source
        )
    for name in stale:
        yield StringCommand("rm -rf", QuoteString(f"{layout.KERNELS}/{name}"))


def unnamed(surplus: dict[str, dict[str, list[str]]], going: list[str]) -> dict[str, list[str]]:
    """The surplus releases of each environment that no kernelspec names but those that go."""
    found = {
        environment: [release for release, specs in old.items() if not {*specs} - {*going}]
        for environment, old in surplus.items()
    }
    return {environment: ids for environment, ids in found.items() if ids}


def is_built(environment: Environment, box: Box, offer: Offer | None) -> bool:
    """Whether an environment is at a release of its declaration and brings a kernel."""
    if offer is None or not offer["specs"]:
        return False
    # The prefix is a real path, and conda's root may be a link.
    place, _, release = offer["prefix"].rpartition("/")
    if place.endswith("/envs"):
        # One that was made by hand; the deploy has seen that it holds what is declared.
        return True
    declared = environment.release_id(box.conda.channels)
    of_it = place.endswith(f"/releases/{environment.name}")
    return of_it and layout.declares(release) == declared


def ours(spec: Kernelspec | None, environment: str | None = None) -> bool:
    """Whether a published kernelspec is one of this project's, and of an environment if given."""
    metadata = (spec or {}).get("metadata")
    mark = metadata.get("jupyterbox") if isinstance(metadata, dict) else None
    if not isinstance(mark, dict):
        return False
    return environment in (None, mark.get("environment"))


def plan(environments: list[Environment], offers: dict[str, Offer]) -> dict[str, Published]:
    """What shall be published, by name.

    Raises:
        OperationError: when two kernels would have one name.
    """
    wanted: dict[str, Published] = {}
    for environment in environments:
        offer = offers[environment.name]
        # An environment's name stands for its Python kernel, else for the first that it has.
        main = "python3" if "python3" in offer["specs"] else sorted(offer["specs"])[0]
        for kernel in offer["specs"]:
            name = environment.name if kernel == main else f"{environment.name}-{kernel}"
            if name in wanted:
                raise OperationError(
                    f"two kernels would be called {name!r}, one of them {kernel!r} of environment "
                    f"{environment.name!r}: rename an environment"
                )
            wanted[name] = Published(
                publish_as(environment, offer, kernel, kernel == main),
                f"{offer['prefix']}/share/jupyter/kernels/{kernel}",
            )
    return wanted


def publish_as(environment: Environment, offer: Offer, kernel: str, main: bool) -> Kernelspec:
    """An environment's kernelspec under the environment's name and title.

    It names the release's real path: a running kernel keeps importing from the release that it
    started in. PATH and CONDA_PREFIX make `!pip` and `!which python` speak of the same one.
    """
    prefix, spec = offer["prefix"], offer["specs"][kernel]
    command, *arguments = spec["argv"]
    label = environment.label
    return {
        **spec,
        "argv": [command if command.startswith("/") else f"{prefix}/bin/{command}", *arguments],
        "display_name": label if main else f"{label}: {spec.get('display_name', kernel)}",
        "env": {
            **spec.get("env", {}),
            # jupyter_client fills in the server's own PATH.
            "PATH": f"{prefix}/bin:${{PATH}}",
            "CONDA_PREFIX": prefix,
            "CONDA_DEFAULT_ENV": environment.name,
            **environment.variables,
        },
        "metadata": {
            **spec.get("metadata", {}),
            "jupyterbox": {"environment": environment.name, "kernel": kernel},
        },
    }
