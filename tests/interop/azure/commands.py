"""What a document tells its reader to run, held against what there is to run."""

import json
import os
import pathlib
import re
import shlex
import subprocess

from models import BICEP

# Of these only that they are what is meant; what they take is not this project's.
COMMON = {"azcopy", "cargo", "curl", "jq", "scp", "ssh", "stat", "cat"}
# Ours: program in a document, where it is built, and the same without a folder.
OURS = {"host": "host", "cmcp-verify": "cmcp-verify", "image/build": "image"}
# Files of an image.
PARTS = {"enclave", "vmlinuz", "initramfs.cpio", "initramfs.cpio.xz", "cmdline", "enclave.efi", "disk.raw", "disk.vhd", "measurements.json"}
FLAVOURS = {"metal", "azure", "azure-single"}
# Mistakes in the document, as in the templates: a part, what stands there instead, what must be said.
MISTAKES = [
    ("--upload-type Upload", "--upload-kind Upload", "az disk create has no --upload-kind"),
    ("az disk revoke-access", "az disk revoke", "az disk revoke is not known here"),
    ("flavour=$FLAVOUR version", "flavor=$FLAVOUR version", "has no parameter flavor"),
    ("slot=b", "slot=c", "slot: 'c' is not allowed"),
    (" image=$IMAGE sshKey", " sshKey", "needs the parameter image"),
    ("properties.outputs.image.value", "properties.outputs.id.value", "has no output id"),
    ("image/azure/azure-single.bicep", "image/azure/azure_single.bicep", "no file image/azure/azure_single.bicep"),
    ("@image/azure/azure.parameters.json", "@image/azure/azure.params.json", "no file image/azure/azure.params.json"),
    ("target/image/azure/measurements.json --documents", "target/image/azur/measurements.json --documents", "no such image"),
    ("RG=cmcp; ", "", "$RG is not set"),
]


class Document:
    """A document's commands against the repository, its templates and its programs."""

    def __init__(self, root, templates):
        self.root, self.templates = root, templates
        self.az = json.loads((pathlib.Path(__file__).parent / "az.json").read_text())
        folder = pathlib.Path(os.environ.get("GATEWAY_BIN_DIR", root / "target/release"))
        self.programs = {name: folder / name for name in OURS.values() if (folder / name).exists()}
        self.helps, self.missing, self.seen = {}, set(), ""

    def skipped(self):
        return f" (not built, flags not looked at: {', '.join(sorted(self.missing))})" if self.missing else ""

    def check(self, text):
        """What is wrong with it."""
        blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.S | re.M)
        self.variables, wrong, lines = set(), [], 0
        for block in blocks:
            for line in joined(block):
                lines += 1
                wrong += [f"`{line[:60]}`: {one}" for one in self._line(line)]
        for path in set(re.findall(r"`((?:image|docs|tests|policies)/[\w./-]+)`", text)):
            if not (self.root / path).exists() and path != "image/build":
                wrong.append(f"no file {path}")
        self.seen = f"{lines} commands"
        return wrong + ([] if lines else ["no commands"])

    def check_service(self, text):
        """What is wrong with the command of a systemd unit in cloud-init's configuration."""
        (command,) = re.findall(r"ExecStart=/usr/local/bin/(.*)", text)
        wrong = self._command(command.split())
        return wrong if "ENCLAVE_ADDRESS" in text.partition("ENCLAVE=")[2] else [*wrong, "ENCLAVE is not the template's"]

    def check_mistakes(self, text):
        """The mistakes of which nothing is said."""
        missed = []
        for part, instead, said in MISTAKES:
            wrong = self.check(text.replace(part, instead, 1)) if part in text else []
            if not any(said in one for one in wrong):
                missed.append(f"docs/azure.md with {instead!r}: expected {said!r}, found {wrong}")
        self.check(text)
        return missed

    def _line(self, line):
        wrong = []
        for inner in re.findall(r"\$\(([^()]*)\)", line):
            wrong += self._line(inner)
        line = re.sub(r"\$\([^()]*\)", "OUTPUT", line)
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError as error:
            return wrong + [str(error)]
        for name in re.findall(r"\$(\w+)", line):
            if name not in self.variables:
                wrong.append(f"${name} is not set before")
        command = []
        for word in words + [";"]:
            if word in (";", "&&", "|", "&", ">", "<"):
                wrong += self._command(command) if command else []
                command = ["FILE"] if word in "<>" else []
                continue
            command.append(word)
        return wrong

    def _command(self, words):
        while words and re.match(r"\w+=", words[0]):
            self.variables.add(words.pop(0).partition("=")[0])
        if not words or words[0] == "FILE":
            return []
        program, arguments = words[0], words[1:]
        wrong = [found for argument in arguments for found in self._path(argument)]
        name = OURS.get(program) or OURS.get(program.removeprefix("target/release/"))
        if program == "az":
            return wrong + self._azure(arguments)
        if name:
            return wrong + self._ours(name, arguments)
        return wrong + ([] if program in COMMON else [f"{program} is not known here"])

    def _path(self, argument):
        path = argument.lstrip("@")
        if match := re.fullmatch(r"target/image/([^/$]+)/([^/]+)", path):
            return [] if match[1] in FLAVOURS and match[2] in PARTS else [f"{path}: no such image"]
        if re.match(r"(image|docs|tests|policies)/", path) and not (self.root / path).exists():
            return [f"no file {path}"]
        return []

    def _azure(self, arguments):
        plain = arguments[: next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))]
        command = " ".join(plain)
        if command not in self.az["commands"]:
            return [f"az {command} is not known here"]
        known = self.az["commands"][command].split()
        wrong = [f"az {command} has no {word}" for word in arguments if re.match(r"--?[a-z]", word) and word not in known]
        return wrong + (self._deployment(arguments) if command == "deployment group create" else [])

    def _deployment(self, arguments):
        path = after(arguments, "--template-file")[0]
        template = self.templates.get(pathlib.Path(path).stem)
        if template is None:
            return [f"{path} is no template"]
        wrong, given = [], set()
        for word in after(arguments, "--parameters"):
            if word.startswith("@"):
                example = self.root / word[1:]
                given |= set(json.loads(example.read_text())["parameters"]) if example.exists() else set()
                continue
            name, _, value = word.partition("=")
            given.add(name)
            wrong += check_parameter(template, name, value, path, literal="$" not in value and "OUTPUT" not in value)
        for name, parameter in template.parameters.items():
            if not parameter.has_default and name not in given:
                wrong.append(f"{path} needs the parameter {name}")
        for name in re.findall(r"properties\.outputs\.(\w+)", " ".join(after(arguments, "--query"))):
            if name not in template.outputs:
                wrong.append(f"{path} has no output {name}")
        return wrong

    def _ours(self, name, arguments):
        if name not in self.programs:
            self.missing.add(name)
            return []
        command = (name,)
        if arguments and re.fullmatch(r"[a-z-]+", arguments[0]) and f"\n  {arguments[0]} " in self._help(command):
            command = (name, arguments[0])
        help_ = self._help(command)
        flags = [word for word in arguments if word.startswith("--")]
        return [f"{' '.join(command)} has no {flag}" for flag in flags if not re.search(rf"(^|[\s,]){flag}\b(?!-)", help_)]

    def _help(self, command):
        if command not in self.helps:
            run = [self.programs[command[0]], *command[1:], "--help"]
            self.helps[command] = subprocess.run(run, capture_output=True, text=True, timeout=20, check=True).stdout
        return self.helps[command]


def joined(block):
    """The commands of a block, without comments, each on one line."""
    command = ""
    for line in block.splitlines():
        line = re.sub(r"(^|\s)#\s.*", "", line).strip()
        command = f"{command} {line.removesuffix(chr(92))}".strip()
        if line and not line.endswith("\\") and command.count("'") % 2 == 0:
            yield command
            command = ""


def after(arguments, flag):
    """The values of a flag."""
    if flag not in arguments:
        return []
    rest = arguments[arguments.index(flag) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def check_parameter(template, name, value, where, literal=True):
    """What is wrong with a value for a parameter of a template."""
    if name not in template.parameters:
        return [f"{where}: {template.path.name} has no parameter {name}"]
    parameter = template.parameters[name]
    allowed = parameter.decorators.get("allowed")
    if literal and allowed and value not in allowed:
        return [f"{where}: {name}: {value!r} is not allowed"]
    found = "array" if isinstance(value, list) else BICEP.get(type(value), "object")
    if isinstance(value, str) and parameter.type in ("int", "bool") and where.endswith(".bicep"):
        return []
    return [] if found == parameter.type else [f"{where}: {name}: expected {parameter.type}, found {found}"]
