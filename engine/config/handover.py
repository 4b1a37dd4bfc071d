"""What a front script hands over: its variables and its arguments. They come as one JSON text in an environment variable.

`scripts/lib/hand_over.ps1` writes {"script": its path, "command": "train", "edition": "Desktop" (5.1) or "Core", "variables": {...},
"arguments": [...]} into ENGINE_HANDOVER. `read` takes that apart; the arguments are words of a command line, and `take` makes settings and
options of the variables.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from engine.config import HANDOVER, options, values
from engine.config.keys import Key, run_keys
from engine.config.known import Known
from engine.config.problems import Findings, Origin
from engine.config.script_text import Assignment, ScriptText
from engine.config.sources import ConfigFile, Entry, Flags, Source
from engine.config.variables import ALWAYS, BY_NAME, INSTEAD, LYCORIS, SWITCHES, TRAINING, Variable
from engine.errors import UserError, did_you_mean

# Looked at when all others are read.
_TOGETHER = ("random_seed", "enable_lycoris_train", "enable_locon_train", "conv_dim", "conv_alpha", "algo", "dropout")
_POWERSHELLS_OWN = re.compile(r"\w+preference|outputencoding|psdefaultparametervalues|ofs")


@dataclass(frozen=True)
class Script:
    """A front script and what it said. `windows_powershell`: version 5.1 ran it, which needs the file's mark (BOM)."""

    name: str
    command: str
    windows_powershell: bool
    variables: dict[str, object]
    arguments: tuple[object, ...]
    text: ScriptText

    def origin(self, name: str) -> Origin:
        """Where a variable stands."""
        return Origin(self.name, self.text.assignment(name).line, name=f"${name}")

    def words(self) -> list[str]:
        """The words behind the script's name. Under `-File`, PowerShell cuts `--vae=D:\\a` in two, and may drop the colon."""
        found: list[str] = []
        for given in self.arguments:
            word = _argument(self, given)
            if found and re.fullmatch(r"--[\w-]+=(\w+:|[A-Za-z])", found[-1]) and word[:1] in ("\\", "/"):
                found[-1] = f"{found[-1].removesuffix(':')}:{word}"
            else:
                found.append(word)
        return found


@dataclass(frozen=True)
class Handed:
    """What the variables of a script say: sources of settings in their order, and values of the command's own options."""

    sources: tuple[Source, ...]
    own: tuple[Entry, ...]


def take(script: Script, known: Known, *, complete: bool = False) -> Handed:
    """The variables of a script for a command with these options, and what is wrong with them.

    The settings are what lora-scripts always set, then the variables, then the file that they name. `complete`: the words behind the script
    are a line that stands for itself, so that no variable is a setting.
    """
    reader = _Reader(script, known)
    reader.read(settings=known.settings and not complete)
    found: list[Source] = []
    if complete and script.variables:
        message = "its variables are no settings of this run: the pasted line is complete"
        reader.findings.notice(Origin(script.name), "", message)
    elif script.command in TRAINING and not reader.files:  # a file of settings stands for itself, as in lora-scripts' train_by_toml.ps1
        given = {name.lower() for name in script.variables}
        always = [Entry(key, value, Origin(script.name, name=f"${key}")) for key, value in ALWAYS if key not in given]
        found.append(Flags(tuple(always)))
        for key, says in INSTEAD if script.command == "train" else ():
            if key not in given:
                reader.findings.notice(Origin(script.name, name=f"${key}"), key, f"is not set: {says}")
    found.append(Flags(tuple(reader.entries.values()), tuple(reader.findings.problems), tuple(reader.findings.notices)))
    return Handed((*found, *reader.files), tuple(reader.own))


def places(origins: Mapping[str, Origin], message: str) -> list[str]:
    """Where a script sets what a message speaks of by the setting's name: lines for under it, none where it names its places itself.

    `origins` are those of the settings of the run, so that nothing is told of a variable that something else won over.
    """
    scripts = {key: origin for key, origin in origins.items() if origin.name and origin.line}
    if any(f"{origin.file}:" in message for origin in scripts.values()):
        return []
    named = [origin for key, origin in scripts.items() if re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", message)]
    return [f"it is set in {origin}  {origin.name}" for origin in sorted(named, key=lambda origin: origin.line)]


def read(text: str) -> Script:
    """The hand-over taken apart. Raises UserError where it is none."""
    try:
        given = json.loads(text)
        path = str(given["script"])
        variables = {str(name): value for name, value in dict(given["variables"]).items()}
        arguments = tuple(given["arguments"] or ())
        command, desktop = str(given["command"]), given["edition"] == "Desktop"
    except (ValueError, KeyError, TypeError) as error:
        hint = "use the scripts that came with this version, or remove the variable from the environment"
        raise UserError("this is not what the scripts hand over", hint, where=HANDOVER) from error
    name = (PureWindowsPath if "\\" in path else PurePath)(path).name
    try:
        data = Path(path).read_bytes()
    except OSError:
        data = b""  # messages then have no line
    return Script(name, command, desktop, variables, arguments, ScriptText(data))


def _argument(script: Script, given: object) -> str:
    """One word behind the script's name. PowerShell makes a list of `512,512` and a number of `1e-4`."""
    word = ",".join(values.show(part) for part in given) if isinstance(given, list) else "" if given is None else values.show(given)
    if '"' in word and "\\" in word:
        hint = r'a backslash before a closing quote makes that quote part of the text: write "D:\pics" instead of "D:\pics\"'
        raise UserError(f"the quotes of this argument went wrong: `{word}`", hint, where=script.name)
    return word


def of_command(known: Known) -> Mapping[str, Key]:
    """The variables that stand for options of the command's own."""
    return {key.meta.variable or key.name: key for key in known.own.values()}


def _unknown(script: Script, known: Iterable[str]) -> list[str]:
    """Variables that are not known, PowerShell's own, or the user's helpers: those that the script itself reads again."""
    taken = set(known)
    return [
        name
        for name in script.variables
        if name.lower() not in taken and not _POWERSHELLS_OWN.fullmatch(name.lower()) and not script.text.is_read(name)
    ]


def _no_such_variable(name: str, known: list[str]) -> str:
    guess = did_you_mean(name.lower(), known).replace("`", "`$", 1)
    return f"there is no such variable. {guess or 'One of your own must be used somewhere in the script'}"


def _present(script: Script, name: str, raw: object, findings: Findings) -> object:
    """A variable's value; None where it says nothing: `$null`, or a mistake, which is noted."""
    origin, at = script.origin(name), script.text.assignment(name)
    if at.takes_next_line:
        message = f'nothing stands behind the `=`, so that PowerShell takes the next line for it; write ${name} = ""'
        findings.unreadable(origin, name, message)
        return None
    if raw is None:
        if at.right.lower() != "$null":
            findings.unreadable(origin, name, f"it has no value; {_why_none(at)}")
        return None
    if "\ufffd" in str(raw):
        findings.unreadable(origin, name, f"`{values.show(raw)}` could not be read; save {script.name} as `UTF-8 with BOM`")
        return None
    return raw["value"] if isinstance(raw, dict) and set(raw) == {"value", "Count"} else raw  # a list, as PowerShell 5.1 may write it


def _why_none(at: Assignment) -> str:
    if re.fullmatch(r"\$\w+", at.right):
        return f"there is no variable `{at.right}`; texts stand between quotes"
    rule = 'texts and paths stand between quotes, numbers without a unit, and nothing at all is ""'
    return f"PowerShell could make nothing of `{at.right}`: {rule}" if at.right else rule


class _Reader:
    """Makes entries of variables, under the names of the settings and of the command's own options."""

    def __init__(self, script: Script, known: Known) -> None:
        self.script = script
        self.known = known
        self.findings = Findings()
        self.entries: dict[str, Entry] = {}
        self.own: list[Entry] = []
        self.files: list[ConfigFile] = []
        self._all = {name.lower(): raw for name, raw in script.variables.items()}

    def read(self, *, settings: bool) -> None:
        """Every variable, or those alone that are no settings; the ones that nobody knows are told."""
        self._check_mark()
        own = of_command(self.known)
        known = [*BY_NAME, *run_keys(), *options.RUN] if self.known.settings else []
        for name in _unknown(self.script, [*known, *own]):
            self.findings.problem(self.script.origin(name), name, _no_such_variable(name, [*known, *own]))
        for name, raw in self.script.variables.items():
            if name.lower() in own:
                self._option(own[name.lower()], name, raw)
        if settings:
            self._settings([name for name in self.script.variables if name.lower() in known and name.lower() not in own])

    def _option(self, key: Key, name: str, raw: object) -> None:
        """An option of the command's own; nothing, and an empty text, leave it out."""
        value = _present(self.script, name, raw, self.findings)
        if isinstance(value, list):
            value = tuple(values.show(part) for part in value if part not in ("", None))
        if value not in (None, "", ()) and (value is not False or key.type is bool):
            self.own.append(Entry(key.name, value, self.script.origin(name)))

    def _settings(self, named: list[str]) -> None:
        """The variables that are settings, and what follows from several of them together."""
        for name in named:
            self._check_switch(name)
        for name in sorted(named, key=lambda name: self.script.text.assignment(name).line):  # the later one of two counts
            raw = _present(self.script, name, self.script.variables[name], self.findings)
            if raw is not None:
                self._take(name, BY_NAME.get(name.lower()) or Variable(name.lower(), key=name.lower()), raw)
        if self._on("random_seed"):
            self._draw_seed()
        if self._on("enable_lycoris_train"):
            self._choose_lycoris()
        self._network_args()
        if str(self._all.get("model_type")).lower() == "sdxl":
            self.entries.pop("clip_skip", None)  # as in lora-scripts: SDXL's layers are fixed
        if self.script.command in TRAINING:
            self._sample_pictures()
        for file in self.files if self.entries else ():
            message = f"the settings in {file.path} win over the variables here"
            self.findings.notice(self.script.origin("config_file"), "config_file", message)

    def _check_switch(self, name: str) -> None:
        """One that is neither on nor off is told, and is off then, so that nothing is told of what would follow from it."""
        if name.lower() in SWITCHES and self._on(name.lower()):
            try:
                values.boolean(self._all[name.lower()])
            except values.BadValue as error:
                self.findings.problem(self.script.origin(name), name, f"{error}; write $true or $false")
                self._all[name.lower()] = False

    def _take(self, name: str, variable: Variable, raw: object) -> None:
        origin = self.script.origin(name)
        if variable.state != options.WORKS:
            if variable.option.asks(raw):
                options.judge(variable.option, origin, self.findings)
        elif variable.name == "config_file":
            self._config_file(origin, raw)
        elif variable.key and variable.name not in _TOGETHER and (not variable.switch or self._on(variable.switch, missing=True)):
            self._entry(variable, origin, dict(variable.words).get(values.show(raw).lower(), raw))

    def _entry(self, variable: Variable, origin: Origin, raw: object) -> None:
        key = variable.key
        option, setting = options.RUN.get(key), run_keys().get(key)
        if setting is not None:
            clears = setting.optional and setting.default is not None  # `""` switches off what is on by default
            if (raw == "" and not clears) or (raw is False and setting.type is not bool):
                return
            if setting.type in (int, float) and setting.meta.kind != "pairs" and isinstance(raw, list) and len(raw) > 1:
                written = ",".join(values.show(part) for part in raw)
                message = f"PowerShell takes `{written}` for a list; a decimal number has a point: `{written.replace(',', '.')}`"
                self.findings.unreadable(origin, key, message)
                return
        elif option is not None and option.same_as and not option.asks(raw):
            return
        target = option.same_as if option is not None and option.same_as else key
        earlier = self.entries.pop(target, None)
        if earlier is not None:
            self._tell_unused(earlier, origin, target)
        self.entries[target] = Entry(key, raw, origin)

    def _tell_unused(self, earlier: Entry, used: Origin, target: str) -> None:
        message = f"is used, and not {earlier.origin.name} in line {earlier.origin.line}: both mean `{target}`"
        self.findings.notice(used, target, message)

    def _on(self, name: str, *, missing: bool = False) -> bool:
        """Whether a switch is on; `missing` is the answer where the script has no such variable."""
        return Variable(name).option.asks(self._all[name]) if name in self._all else missing

    def _check_mark(self) -> None:
        """Windows PowerShell reads a file without a mark in the system's old encoding."""
        script = self.script
        if not script.windows_powershell or script.text.has_mark or script.text.is_ascii or not script.text.is_utf8:
            return
        remedy = "save it as `UTF-8 with BOM` (Notepad's list of encodings)"
        garbled = [name for name, raw in script.variables.items() if not json.dumps(raw, ensure_ascii=False).isascii()]
        for name in garbled:
            self.findings.problem(script.origin(name), name, f"the file was saved without its mark (BOM) and is misread; {remedy}")
        if not garbled:
            self.findings.notice(Origin(script.name), "", f"saved without its mark (BOM); before you write Chinese into it, {remedy}")

    def _config_file(self, origin: Origin, raw: object) -> None:
        if values.show(raw) not in ("", "false"):
            self.files.append(ConfigFile(values.show(raw), str(origin)))

    def _draw_seed(self) -> None:
        drawn = secrets.randbelow(2**32)
        self.entries["seed"] = Entry("seed", drawn, self.script.origin("random_seed"))
        self.findings.notice(self.script.origin("random_seed"), "seed", f"the seed of this run is {drawn}")

    def _choose_lycoris(self) -> None:
        """Its switch wins over the module, as in lora-scripts, in whatever order they stand."""
        origin, module = self.script.origin("enable_lycoris_train"), self.entries.get("network_module")
        if module is not None and values.show(module.raw).lower() not in LYCORIS:
            self._tell_unused(module, origin, "network_module")
        self.entries["network_module"] = Entry("network_module", LYCORIS[0], origin)

    def _network_args(self) -> None:
        """The variables that are options of the method: LyCORIS', or the convolutions' alone; what `algo` asks for without it is told."""
        module, algo = self.entries.get("network_module"), values.show(self._all.get("algo") or "")
        if module is not None and values.show(module.raw).lower() in LYCORIS:
            self._merge(module.origin, "conv_dim", "conv_alpha", "algo", "dropout")
            return
        if self._on("enable_locon_train"):
            self._merge(self.script.origin("enable_locon_train"), "conv_dim", "conv_alpha")
        if algo.lower() not in ("", *BY_NAME["algo"].inert):
            message = f"`{algo}` has no effect, since neither $enable_lycoris_train nor $network_module chooses LyCORIS"
            self.findings.notice(self.script.origin("algo"), "algo", message)

    def _merge(self, chosen: Origin, *names: str) -> None:
        """These variables as options of the method, which `chosen` chose; each keeps its place."""
        given = self.entries.get("network_args")
        try:
            merged = values.pairs(given.raw if given else "")
        except values.BadValue:
            return  # told where the settings are read
        origin = given.origin if given else chosen
        parts: dict[str, Origin] = {}
        for name in names:
            value = self._all.get(name)
            if value is None or value == "" or value is False:
                continue
            if name in merged:
                self.findings.problem(origin, "network_args", f"`{name}` stands here and in a variable of its own; keep one")
            else:
                merged[name], parts[name] = value, self.script.origin(name)
        self.entries["network_args"] = Entry("network_args", merged, origin, parts)

    def _sample_pictures(self) -> None:
        """Without a file of prompts there are no sample pictures, which is told and no mistake."""
        prompts = self.entries.get("sample_prompts")
        if Path(values.show(prompts.raw)).is_file() if prompts else not self._on("output_sample"):
            return
        for key in ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first", "sample_prompts"):
            self.entries.pop(key, None)
        origin = prompts.origin if prompts else self.script.origin("output_sample")
        wanted = f"`{values.show(prompts.raw)}` does not exist; write a prompt a line into it" if prompts else "$prompt_file names no file"
        self.findings.notice(origin, "sample_prompts", f"no sample pictures are made: {wanted}")
