"""The wheel: built, installed into an empty environment, and used from another folder, with its assets."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("mediator", "trainer", "ui")


def run(*command: str | Path, **options: object) -> str:
    """Run a command and return its output; a failure shows what it wrote on stderr."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stderr[-3000:]
    return str(result.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, so that no build folder of the working tree leaks into it."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "assets"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(REPOSITORY / name, source / name)
    target = tmp_path_factory.mktemp("dist")
    run(
        *(sys.executable, "-m", "pip", "wheel", source, "--wheel-dir", target),
        *("--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir", "--disable-pip-version-check"),
    )
    [built] = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment in which nothing but the wheel was installed.

    It sees the dependencies of this environment by a path file, so nothing is downloaded or built again.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    programs = environment / ("Scripts" if sys.platform == "win32" else "bin")
    run(
        *(sys.executable, "-m", "pip", "--python", programs / "python", "install", wheel),
        *("--no-deps", "--no-index", "--disable-pip-version-check"),
    )
    purelib = Path(run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (purelib / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    return programs


def elsewhere(folder: Path) -> dict[str, object]:
    """Options of `run`: another folder, and no way to find the source tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {"cwd": folder, "env": environment}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_wheel_holds_every_package_and_every_asset_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: digest(archive.read(name)) for name in archive.namelist() if not name.endswith("/")}
    expected = {}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*"):
            if path.suffix == ".py" or path.name == "py.typed":
                expected[path.relative_to(REPOSITORY).as_posix()] = digest(path.read_bytes())
    for path in (REPOSITORY / "assets").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(REPOSITORY / "assets").as_posix()
            expected[f"mediator/assets/{name}"] = digest(path.read_bytes())
    rest = {name for name in inside if ".dist-info/" in name}
    assert {name: inside[name] for name in inside.keys() - rest} == expected
    names = {name.partition(".dist-info/")[2] for name in rest}
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= names


def test_evenhand_proposes_from_another_folder(installed, tmp_path):
    output = run(installed / "evenhand", "propose", "library-hours", "-n", "2", "--json", **elsewhere(tmp_path))
    printed = json.loads(output)
    assert len(printed["candidates"]) == 2
    for candidate in printed["candidates"]:
        assert candidate["text"]
        assert 0 < candidate["warmth"] < 1
    assert list(tmp_path.iterdir()) == []


def test_the_assets_come_from_the_installed_package(installed, tmp_path):
    program = "import mediator, mediator.resources as r; print(mediator.__file__); print(r.ASSETS)"
    package, assets = run(installed / "python", "-c", program, **elsewhere(tmp_path)).splitlines()
    assert Path(package).is_relative_to(installed.parent)
    assert Path(assets) == Path(package).parent / "assets"


def test_the_version_is_that_of_the_project(installed, tmp_path):
    import tomllib

    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run(installed / "evenhand", "--version", **elsewhere(tmp_path)) == f"evenhand {version}\n"
