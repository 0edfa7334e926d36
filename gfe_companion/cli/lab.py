"""JupyterLab on the reader's own copies of the notebooks, so that saving there changes nothing that is published.

Standard library only, but for what asks the environment once it is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from gfe_companion.cli.environment import Exit, Stop
from gfe_companion.cli.said import say

COPIED = ".copied.json"  # what each notebook was when it was copied
FIRST = "00_start_here.ipynb"  # the page that is opened
HERE = "--ServerApp.ip=localhost"
KERNEL = "--KernelSpecManager.allowed_kernelspecs=python3"  # which is this environment's own Python, registered or not
# The server's own address for the report: in a viewer of files its pictures would be refused.
SHOWN = {
    "command": "help:open",
    "args": {"text": "The report", "url": "/static/report/index.html", "newBrowserTab": True},
}
# JupyterLab's settings until the reader changes them: it asks the network for nothing, and pages of text open as pages.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "filebrowser-extension/browser": {"showLastModifiedColumn": False},  # names have its width
    "docmanager-extension/plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    "mainmenu-extension/plugin": {"menus": [{"id": "jp-mainmenu-help", "items": [{"rank": 0, **SHOWN}]}]},
}


def start(python: Path, root: Path, arguments: list[str]) -> None:
    """Become JupyterLab on the copies, on this machine alone and with a token; ``arguments`` are its own, and win.

    It opens the first page, with README and the latest report beside it, and knows this environment's kernel alone.
    Raises Stop (USAGE) where JupyterLab would refuse to run as root.
    """
    if os.geteuid() == 0 and not any(argument.startswith(("--allow-root", "--help")) for argument in arguments):
        raise Stop(
            "you are root, as whom JupyterLab does not run unless it is told to, since its terminals and notebooks may "
            "then change anything: in a container, call ./run_all.sh --lab -- --allow-root",
            Exit.USAGE,
        )
    folder = copies(root)
    _settings(folder / ".jupyter")
    report = _report(folder)
    _readme(root, folder, report)
    where = [] if any(argument.startswith(("--ip", "--ServerApp.ip")) for argument in arguments) else [HERE]
    where += [KERNEL, f"--LabApp.default_url=/lab/tree/{FIRST}", f"--ServerApp.extra_static_paths={folder}/.static"]
    environ = os.environ | {"JUPYTER_CONFIG_DIR": str(folder / ".jupyter"), "IPYTHONDIR": str(folder / ".ipython")}
    environ["GFE_LAB"] = "1"  # bars are drawn as a page of JupyterLab shows them
    if not environ.get("JUPYTER_TOKEN"):
        environ.pop("JUPYTER_TOKEN", None)  # an empty one would let anybody in
    command = [str(python), "-P", "-m", "jupyterlab", *where, *arguments, str(folder)]
    os.execve(python, command, environ)


def copies(root: Path) -> Path:
    """The folder `lab`, where each notebook is that was not there yet; what is there is never overwritten."""
    folder = Path(os.environ.get("GFE_HOME") or root) / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    copied, older = _read(folder / COPIED), []
    for path in sorted((root / "notebooks").glob("[!.]*")):
        if not path.is_file():
            continue
        mine, sum_ = folder / path.name, hashlib.sha256(path.read_bytes()).hexdigest()
        if not os.path.lexists(mine):
            part = folder / f".{path.name}.part"
            part.write_bytes(_as_opened(path))
            part.rename(mine)
            copied[path.name] = sum_
        elif copied.get(path.name, sum_) != sum_:
            older.append(path.name)
    part = folder / f"{COPIED}.part"
    part.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    part.replace(folder / COPIED)
    say(f"JupyterLab opens your own copies in {folder}; delete one there to have it made anew, or all to reset")
    if older:
        say(f"newer than your copies: {', '.join(older)}")
    return folder


def _as_opened(path: Path) -> bytes:
    """What is in ``path``; a notebook with what JupyterLab writes of its kernel into each that it opens.

    Without that, every notebook would be marked as changed before the reader touches it.
    """
    from ipykernel.ipkernel import IPythonKernel
    from jupyter_client.kernelspec import KernelSpecManager

    content = path.read_bytes()
    try:
        notebook = json.loads(content)
        spec = KernelSpecManager().get_kernel_spec("python3")
        kernel = {"name": "python3", "display_name": spec.display_name, "language": spec.language}
        notebook["metadata"] |= {"kernelspec": kernel, "language_info": IPythonKernel.language_info}
    except (ValueError, LookupError, TypeError):  # it is damaged, or no notebook
        return content
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()


def _settings(config: Path) -> None:
    """Put :data:`SETTINGS` where JupyterLab looks for the reader's own, unless these are there already."""
    for name, values in SETTINGS.items():
        path = config / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _report(folder: Path) -> Path | None:
    """Make the server show the report that was written last; return it, or None if there is none yet."""
    link, built = folder / ".static" / "report", folder.parent.glob("build/*/report/index.html")
    last = max(built, key=lambda path: path.stat().st_mtime, default=None)
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    if last:
        link.symlink_to(last.parent, target_is_directory=True)
    return last


def _readme(root: Path, folder: Path, report: Path | None) -> None:
    """Write README into ``folder``, made anew each time, with its pictures, and with links to what is there alone."""
    page = root / "README.md"
    if not page.is_file():
        return
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"!\[[^]]*\]\((figures/[^)]+)\)", text)):
        with suppress(OSError):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)

    def link(found: re.Match[str]) -> str:
        place = found[2].removeprefix("notebooks/")
        there = place.startswith(("https://", "#")) or (folder / place.partition("#")[0]).is_file()
        return f"[{found[1]}]({place})" if there else found[1]

    text = re.sub(r"(?<!!)\[([^]\[]+)\]\(([^)]+)\)", link, text)
    told = "`./run_all.sh` writes a report; start JupyterLab again, and the menu Help shows it as *The report*."
    if report:
        told = f"The menu Help shows *The report* that `./run_all.sh` wrote last, in `{report}`."
    head, _, rest = text.partition("\n")
    (folder / "README.md").write_text(f"{head}\n\n> {told}\n{rest}", encoding="utf-8")


def _read(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
