"""The local channel's build, piece by piece, without the network."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.channel import build as build_module
from tests.channel import condapkg, debian_python, metapackages, recipe, repodata, wheels
from tests.channel.common import ChannelError
from tests.channel.condapkg import PLACEHOLDER, Entry, Package
from tests.channel.server import serve
from tests.channel.standin import activation, link, solver
from tests.channel.standin.context import Context
from tests.channel.standin.records import channel_name, in_order

MACHINE = recipe.this_machine()


def _wheel(root: Path, tag: str, **files: str) -> Path:
    """Write an installed wheel as uv leaves it.

    Args:
        root: the site-packages.
        tag: the wheel's tag.
        files: its further files, "/" written as "__".
    """
    info = root / "Some_Tool-1.2.dist-info"
    info.mkdir(parents=True)
    contents = {
        f"{info.name}/METADATA": (
            "Metadata-Version: 2.1\nName: Some-Tool\nVersion: 1.2\nRequires-Python: >=3.8, <4\n"
            "Requires-Dist: jupyter-core>=5.1\nRequires-Dist: colorama; sys_platform == 'win32'\n"
            "Requires-Dist: extra-thing; extra == 'more'\n"
        ),
        f"{info.name}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
        f"{info.name}/INSTALLER": "uv",
        f"{info.name}/REQUESTED": "",
        f"{info.name}/entry_points.txt": "[console_scripts]\nTool = some_tool.cli:main [more]\n",
        "bin/Tool": "#!/somewhere/python\n",
        **{path.replace("__", "/"): text for path, text in files.items()},
    }
    for path, text in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in contents))
    return info


def test_a_pure_wheel_becomes_a_noarch_package(tmp_path: Path) -> None:
    """Names, markers and entry points are those of conda-forge."""
    package = wheels.package(_wheel(tmp_path, "py3-none-any", **{"some_tool.py": ""}), MACHINE)
    assert package.dist == "some-tool-1.2-pyhd8ed1ab_0"
    assert (package.subdir, package.noarch, package.arch) == ("noarch", "python", None)
    assert package.depends == ("jupyter_core >=5.1", "python >=3.8,<4")
    assert package.entry_points == ("Tool = some_tool.cli:main",)
    contents = {entry.path: entry.content() for entry in package.files}
    assert "site-packages/some_tool.py" in contents
    assert "bin/Tool" not in contents
    assert contents["site-packages/Some_Tool-1.2.dist-info/INSTALLER"] == b"conda\n"
    assert not any(path.endswith("REQUESTED") for path in contents)


def test_a_binary_wheel_is_for_one_machine_and_python(tmp_path: Path) -> None:
    """Its commands carry the prefix, and pip's RECORD knows them from site-packages."""
    info = _wheel(tmp_path, "cp311-cp311-manylinux_2_28_x86_64", **{"some.so": ""})
    package = wheels.package(info, MACHINE)
    assert (package.subdir, package.noarch) == (MACHINE.conda, None)
    assert package.depends[-1] == "python >=3.11,<3.12.0a0"
    by_path = {entry.path: entry for entry in package.files}
    script = by_path["bin/Tool"]
    assert script.content().startswith(f"#!{PLACEHOLDER}/bin/python\n".encode())
    assert script.executable and script.placeholder
    record = by_path["lib/python3.11/site-packages/Some_Tool-1.2.dist-info/RECORD"].content()
    assert b"../../../bin/Tool,," in record


def test_a_kernelspec_gets_the_absolute_interpreter(tmp_path: Path) -> None:
    """The wheel says "python"; conda-forge ships PREFIX/bin/python."""
    spec = {"argv": ["python", "-m", "x"]}
    path = "share__jupyter__kernels__python3__kernel.json"
    info = _wheel(tmp_path, "py3-none-any", **{path: json.dumps(spec)})
    [entry] = [one for one in wheels.package(info, MACHINE).files if one.path.endswith("nel.json")]
    assert json.loads(entry.content())["argv"][0] == f"{PLACEHOLDER}/bin/python"
    assert entry.placeholder


def _package() -> Package:
    files = (
        Entry("bin/tool", f"#!{PLACEHOLDER}/bin/python\n".encode(), True, placeholder=True),
        Entry("lib/data", b"data"),
        Entry("lib/link", b"", link_to="data"),
    )
    return Package("tool", "1", "0", MACHINE.conda, ("python",), files=files, arch=MACHINE.arch)


def test_packages_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    """The same content makes the same file, whenever it is made."""
    one = condapkg.write(_package(), tmp_path / "a")
    other = condapkg.write(_package(), tmp_path / "b")
    assert one.name == "tool-1-0.conda"
    assert one.read_bytes() == other.read_bytes()


def test_rattler_reads_both_formats(tmp_path: Path) -> None:
    """What the stand-in unpacks with understands what is written here."""
    package_streaming = pytest.importorskip("rattler.package_streaming")
    for kind in ("conda", "tar.bz2"):
        file = condapkg.write(_package(), tmp_path, kind)
        folder = tmp_path / f"from-{kind}"
        package_streaming.extract(file, folder)
        assert (folder / "bin/tool").stat().st_mode & 0o111
        assert (folder / "lib/link").read_text() == "data"
        index = json.loads((folder / "info/index.json").read_text())
        assert (index["name"], index["depends"]) == ("tool", ["python"])


def test_extracting_gives_back_what_was_packed(tmp_path: Path) -> None:
    """The installer's packages are extracted from .conda files."""
    condapkg.extract(condapkg.write(_package(), tmp_path), tmp_path / "out")
    assert (tmp_path / "out/lib/data").read_text() == "data"
    paths = json.loads((tmp_path / "out/info/paths.json").read_text())["paths"]
    assert {path["_path"]: path.get("file_mode") for path in paths} == {
        "bin/tool": "text",
        "lib/data": None,
        "lib/link": None,
    }


def test_the_index_has_both_formats_and_the_hashes(tmp_path: Path) -> None:
    """repodata.json lists .conda and .tar.bz2 files apart, as conda does."""
    package = _package()
    records = {}
    for kind in ("conda", "tar.bz2"):
        file = condapkg.write(package, tmp_path, kind)
        records[file.name] = package.index()
    repodata.write(tmp_path, records)
    index = json.loads((tmp_path / "repodata.json").read_text())
    assert list(index["packages"]) == ["tool-1-0.tar.bz2"]
    record = index["packages.conda"]["tool-1-0.conda"]
    assert record["size"] == (tmp_path / "tool-1-0.conda").stat().st_size
    assert len(record["sha256"]) == 64
    assert (tmp_path / "repodata.json.zst").exists()


def test_the_pair_that_does_not_go_together() -> None:
    """The metapackages contradict each other."""
    depends = {one.name: one.depends for one in metapackages.metapackages(MACHINE)}
    assert depends["needs-old-six"] == ("six <1.17",)
    assert depends["needs-new-six"] == ("six >=1.17",)


def test_a_changed_debian_python_stops_the_build(tmp_path: Path) -> None:
    """No python is made that would install elsewhere than a conda one."""
    for name in debian_python._PATCHES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("something new\n")
    with pytest.raises(ChannelError, match=r"site\.py is not the one"):
        debian_python._patch(tmp_path)
    (tmp_path / "python").write_bytes(b"something new")
    with pytest.raises(ChannelError, match="frozen site module"):
        debian_python._patch_frozen(tmp_path / "python")


def test_an_interrupted_build_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a failed build nor the debris of a killed one is taken for a result."""
    (tmp_path / ".build-killed").mkdir()

    def fail(work: Path, target: Path, machine: recipe.Machine) -> None:
        target.mkdir(parents=True)
        raise ChannelError("the network is down")

    monkeypatch.setattr(build_module, "_channel", fail)
    with pytest.raises(ChannelError, match="network"):
        build_module.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_only_a_change_of_the_packages_rebuilds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new stand-in keeps the packages; a new lock file does not."""
    arm = recipe._MACHINES["aarch64" if MACHINE.arch == "x86_64" else "x86_64"]
    assert recipe.packages_key(MACHINE) != recipe.packages_key(arm)
    before = recipe.key(MACHINE), recipe.packages_key(MACHINE)
    sources = recipe._sources()
    without = [file for file in sources if file.name != "solver.py"]
    monkeypatch.setattr(recipe, "_sources", lambda: without)
    assert recipe.key(MACHINE) != before[0]
    assert recipe.packages_key(MACHINE) == before[1]
    without = [file for file in sources if file.name != "channel.txt"]
    assert recipe.packages_key(MACHINE) != before[1]


def test_serving(tmp_path: Path) -> None:
    """The server listens on the loopback address and answers while the block runs."""
    (tmp_path / "file").write_text("content")
    with serve(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}/file") as response:
            assert response.read() == b"content"


def test_placeholders() -> None:
    """Texts get the prefix; binaries keep their length; overlong first lines use env."""
    text = link.replace_prefix(b"#!/old/bin/python\nx=/old", "/old", "/new/place", "text")
    assert text == b"#!/new/place/bin/python\nx=/new/place"
    binary = link.replace_prefix(b"\0/long/old/lib\0tail", "/long/old", "/new", "binary")
    assert binary == b"\0/new/lib\0\0\0\0\0\0tail"
    with pytest.raises(ValueError, match="no room"):
        link.replace_prefix(b"", "/old", "/longer", "binary")
    long = link.replace_prefix(b"#!/old/bin/python\n", "/old", f"/{'x' * 130}", "text")
    assert long == b"#!/usr/bin/env python\n"


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ("ipykernel", "ipykernel"),
        ("python=3.11", "python=3.11"),
        ("python 3.11.*", "python=3.11"),
        ("python==3.11.2", "python==3.11.2"),
        ("six>=1.16", "six[version='>=1.16']"),
        ("conda-forge::six", "conda-forge::six"),
    ],
)
def test_specs_are_noted_as_conda_does(spec: str, form: str) -> None:
    """The history and requested_specs hold conda's own spelling."""
    pytest.importorskip("rattler")
    assert solver.conda_form(spec) == form


def test_channels_have_short_names_below_the_alias() -> None:
    """A mirror through channel_alias shows the names that the real channels have."""
    assert channel_name("http://127.0.0.1:8123/conda-forge", "http://127.0.0.1:8123") == (
        "conda-forge"
    )
    assert channel_name("http://127.0.0.1:8123/channel", "https://elsewhere") == "channel"
    assert channel_name("file:///srv/channel", "https://elsewhere") == "channel"


def test_packages_come_after_what_they_need() -> None:
    """python is first although it asks for pip, which asks for python."""
    records = [
        {"name": "ipykernel", "depends": ["pip", "python"]},
        {"name": "pip", "depends": ["python >=3.8"]},
        {"name": "python", "depends": ["pip", "python_abi 3.11.*"]},
        {"name": "python_abi", "depends": []},
    ]
    ordered = [record["name"] for record in in_order(records)]
    assert ordered == ["python_abi", "python", "pip", "ipykernel"]


def test_condarc_files_rank_as_in_conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's file comes before the installation's; lists add up, single values do not."""
    for variable in ("CONDARC", "CONDA_PREFIX", "CONDA_PKGS_DIRS", "CONDA_CHANNELS"):
        monkeypatch.delenv(variable, raising=False)
    context = Context(tmp_path / "root", tmp_path / "home")
    context.sources = {
        "root": {"channels": ["conda-forge"], "channel_alias": "http://one/"},
        "user": {"channels": ["mine"], "pkgs_dirs": ["/srv/pkgs"], "channel_alias": "http://two/"},
    }
    assert context.channels == ["mine", "conda-forge"]
    assert context.channel_alias == "http://two"
    assert context.pkgs_dirs == [Path("/srv/pkgs")]
    # Nobody may write to this root: new environments go to the user's own directory.
    assert context.envs_dirs[0] == tmp_path / "home/.conda/envs"
    context.cli_channels, context.override_channels = ["only"], True
    assert context.channels == ["only"]
    monkeypatch.setenv("CONDA_PKGS_DIRS", "/a:/b")
    assert context.pkgs_dirs[:2] == [Path("/a"), Path("/b")]


def test_activation_and_back(tmp_path: Path) -> None:
    """Activation puts the environment first on PATH and deactivation takes it off again."""
    context = Context(tmp_path / "root", tmp_path / "home")
    prefix = str(tmp_path / "root/envs/x")
    lines = activation.activate(context, prefix, {"PATH": "/usr/bin", "PS1": "$ "})
    assert f"export PATH={prefix}/bin:/usr/bin" in lines
    assert "export CONDA_DEFAULT_ENV=x" in lines
    assert "PS1='(x) $ '" in lines
    active = {"PATH": f"{prefix}/bin:/usr/bin", "CONDA_PREFIX": prefix, "CONDA_SHLVL": "1"}
    active |= {"PS1": "(x) $ ", "CONDA_PROMPT_MODIFIER": "(x) "}
    lines = activation.deactivate(context, active)
    assert "export PATH=/usr/bin" in lines
    assert "unset CONDA_PREFIX" in lines
    assert "PS1='$ '" in lines
