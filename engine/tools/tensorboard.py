"""`tensorboard`: shows the logs, through TensorBoard's library. So no launcher with an absolute path in it is needed."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from engine.errors import UserError

_PORTS = 20  # tried one after the other: another viewer may be running
_HOST = "127.0.0.1"  # this machine alone: no firewall asks, and nobody else can look


def run(folder: Path, port: int, say: Callable[[str], None], *, browser: bool, wait: Callable[[], None] | None = None) -> None:
    """Show the logs under `folder` until Ctrl-C. Raises UserError where there are none, or no port is free."""
    if not folder.is_dir():
        raise UserError("there is no folder of logs here yet", "train first, or name the folder", where=str(folder))
    address = _launch(folder, port)
    say(f"TensorBoard shows {folder} at {address}  (Ctrl-C ends it)")
    if browser:
        webbrowser.open(address)
    (wait or _for_ever)()


def _launch(folder: Path, port: int) -> str:
    """Start the server in a thread; its address."""
    from tensorboard import default, program

    ports = range(port, min(port + _PORTS, 65536))
    for number in ports:
        viewer = program.TensorBoard(plugins=default.get_plugins())
        viewer.configure(logdir=str(folder), host=_HOST, port=number, load_fast="false")  # no further process, which may outlive this one
        try:
            return str(viewer.launch())
        except program.TensorBoardPortInUseError:
            continue
    taken = f"the ports {port} to {ports[-1]} are taken" if len(ports) > 1 else f"the port {port} is taken"
    raise UserError(taken, "choose another one: --port", where="port")


def _for_ever() -> None:
    while True:  # short sleeps: on Windows a long wait does not notice Ctrl-C
        time.sleep(0.5)
