"""A product of kilobytes: the real Install.cmd, installer and engine, with stand-in wheels and a table of downloads of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

from file_server import Site
from rig_run import Rig

CARD = "NVIDIA GeForce RTX 3060|581.29|12288|8.6"
TORCH = """
__version__ = "2.13.0+BUILD"
class version: cuda = "13.0" if "cu" in __version__ else None
"""
TRIALS = '''
"""The trials of the small product: a card that works where torch is built for one."""
import torch
def answer():
    cards = [{"name": "NVIDIA GeForce RTX 3060", "capability": [8, 6], "bytes": 12 << 30, "fault": ""}] if torch.version.cuda else []
    return {"version": torch.__version__, "cuda_build": torch.version.cuda, "cuda": bool(cards), "cards": cards}
'''
PROOF = '''
"""The proof of the small product: its packages are there."""
import contextlib
def run(root, say):
    import alpha, beta, torch
    with contextlib.suppress(ModuleNotFoundError):
        import extra
    say(f"alpha {alpha.VALUE}")
    return "a real training step ran on a stand-in"
'''
LICENCE = "torch-VERSION.dist-info/licenses/" + "third_party/a_folder_name/" * 5 + "LICENSE.txt"


PARTS = ("Install.cmd", "install", "engine", "python_310")


def wheel(name: str, version: str, modules: dict[str, bytes], more: dict[str, bytes] | None = None, metadata: str = "") -> bytes:
    """A wheel with these modules, and `more` files under their own names (VERSION stands for the version)."""
    info = f"{name}-{version}.dist-info"
    content = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}\nText.\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **{path.replace("VERSION", version): data for path, data in (more or {}).items()},
    }
    rows = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in content.items()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in {**content, f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()}.items():
            archive.writestr(zipfile.ZipInfo(path), data)
    return out.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Product:
    """One installation to be, in `folder`."""

    def __init__(self, root: Path, folder: Path, rig: Rig, site: Site) -> None:
        self.folder = folder
        self.rig = rig
        self.site = site
        self._copy(root)
        entry = {"alpha-1.0.dist-info/entry_points.txt": b"[console_scripts]\nalpha = alpha:main\n"}
        self.wheels = {
            "alpha-1.0-py3-none-any.whl": wheel("alpha", "1.0", {"alpha.py": b"VALUE = 1\nmain = print\n"}, entry),
            "beta-2.0-py3-none-any.whl": wheel("beta", "2.0", {f"beta/{n}.py": b"X = 1\n" for n in ["__init__", *map(str, range(300))]}),
            "tomli-2.5.0-py3-none-any.whl": self._tomli(),
            "extra-3.0-py3-none-any.whl": wheel("extra", "3.0", {"extra.py": b""}),
            "torch-2.13.0-cp310-cp310-win_amd64.whl": self._torch("2.13.0", "cpu"),
        }
        self.torch = self._torch("2.13.0+cu130", "cu130")
        self._write_locks()
        self.write_table()
        self.serve()

    def _copy(self, root: Path) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *PARTS],
            cwd=root, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in (name for name in listed if name and (root / name).is_file()):
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        (self.folder / "engine/training/proof.py").write_text(PROOF, encoding="utf-8")
        (self.folder / "engine/trials.py").write_text(TRIALS, encoding="utf-8")

    def _tomli(self) -> bytes:
        """tomli under its own name, from pip's copy of it."""
        with zipfile.ZipFile(next((self.folder / "install").glob("pip-*.whl"))) as pip:
            names = ("__init__", "_parser", "_re", "_types")
            return wheel("tomli", "2.5.0", {f"tomli/{name}.py": pip.read(f"pip/_vendor/tomli/{name}.py") for name in names})

    @staticmethod
    def _torch(version: str, build: str) -> bytes:
        noise = random.Random(1).randbytes(600_000)  # enough to be cut in the middle
        modules = {"torch/__init__.py": TORCH.replace("BUILD", build).encode(), "torch/lib/noise.dll": noise}
        return wheel("torch", version, modules, {LICENCE: b"Licence of a part.\n"}, "License-File: third_party/LICENSE.txt\n")

    def _write_locks(self) -> None:
        def line(name: str, version: str, data: bytes) -> str:
            return f"{name}=={version} --hash=sha256:{sha256(data)}\n"

        known = {name.split("-")[0]: (name.split("-")[1], data) for name, data in self.wheels.items()}
        locks = {"": ("alpha", "beta", "tomli"), "-cpu": ("torch",), "-gpu": ("extra",)}
        for suffix, names in locks.items():
            text = "".join(line(name, *known[name]) for name in names)
            (self.folder / f"requirements-windows{suffix}.lock").write_text(text, encoding="utf-8")
        pins = "".join(f"{name}=={known[name][0]}\n" for name in (*locks[""], "torch"))
        (self.folder / "requirements.txt").write_text(pins, encoding="utf-8")
        (self.folder / "requirements-gpu.txt").write_text("extra==3.0\n", encoding="utf-8")

    def write_table(self, **changes: str) -> None:
        """install/downloads.toml with addresses of `site`, or of another `base`."""
        python, base = self.rig.python_zip.read_bytes(), changes.get("base", self.site.address)
        rows = {
            "python": {"file": "python-3.10.11-embed-amd64.zip", "base": base, "path": "ftp/python.zip", "sha256": sha256(python)},
            "pip": {"file": (pip := next((self.folder / "install").glob("pip-*.whl"))).name, "sha256": sha256(pip.read_bytes())},
            "python-nuget": {"file": "python.3.10.11.nupkg", "sha256": changes.get("nuget", "0" * 64)},
            "torch-cu130": {
                "file": "torch-2.13.0+cu130-cp310-cp310-win_amd64.whl", "base": f"{base}/whl", "path": "cu130/torch-2.13.0%2Bcu130.whl",
                "index": "cu130/torch/", "sha256": changes.get("torch", sha256(self.torch)),
            },
        }  # fmt: skip
        text = "".join(f"[{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in row.items()) for name, row in rows.items())
        (self.folder / "install/downloads.toml").write_text(text, encoding="utf-8")

    def serve(self) -> None:
        """Put everything on the server."""
        files = self.site.files
        files["/ftp/python.zip"] = self.rig.python_zip.read_bytes()
        files["/whl/cu130/torch-2.13.0+cu130.whl"] = self.torch
        files["/whl/cu130/torch/"] = b"<a href='x'>nothing of use</a>"
        for name, data in self.wheels.items():
            files[f"/simple/{name.split('-')[0]}/"] = f'<a href="/files/{name}">{name}</a>'.encode()
            files[f"/files/{name}"] = data

    def set(self, **variables: str) -> None:
        """Edit the settings at the top of Install.cmd as a user would."""
        path = self.folder / "Install.cmd"
        lines = path.read_bytes().decode("ascii").split("\r\n")
        for name, value in variables.items():
            (at,) = [number for number, line in enumerate(lines) if line.startswith(f'set "{name}=')][:1]
            lines[at] = f'set "{name}={value}"'
        path.write_bytes("\r\n".join(lines).encode("ascii"))

    def offline(self) -> None:
        """All wheels and Python's zip into wheels/, as an offline bundle has them."""
        folder = self.folder / "wheels"
        folder.mkdir(exist_ok=True)
        for name, data in {**self.wheels, "torch-2.13.0+cu130-cp310-cp310-win_amd64.whl": self.torch}.items():
            (folder / name).write_bytes(data)
        shutil.copyfile(self.rig.python_zip, folder / self.rig.python_zip.name)

    def install(self, cards: str = CARD, **variables: str) -> tuple[int, str]:
        """Double-click Install.cmd; exit status and output."""
        words, more = self.double_click()
        return self.rig.run(*words, cwd=Path("/"), STANDIN_CARDS=cards, **more, **variables)

    def double_click(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Install.cmd as a command of the rig, with variables."""
        self.set(pip_mirror=f"{self.site.address}/simple")
        return self.rig.clicked(self.folder / "Install.cmd")

    def said(self) -> str:
        """The installation's log."""
        return (self.folder / "logs/install.log").read_text(encoding="utf-8")

    @property
    def site_packages(self) -> Path:
        return self.folder / "python_310/Lib/site-packages"
