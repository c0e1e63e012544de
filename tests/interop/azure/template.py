"""What a Bicep file declares, and what each expression in it can be, as far as that is known before it is deployed."""

import dataclasses
import ipaddress

import tree_sitter_bicep
from pycep import BicepParser
from tree_sitter import Language, Parser

GRAMMAR = Parser(Language(tree_sitter_bicep.language()))
# What the functions give that the templates use.
FUNCTIONS = {
    "base64": "string",
    "cidrHost": "string",
    "cidrSubnet": "string",
    "concat": "array",
    "empty": "bool",
    "loadTextContent": "string",
    "replace": "string",
    "resourceGroup": "object",
    "string": "string",
}
# As Bicep counts: host 0 is the first after the network's own address.
CIDR = {
    "cidrHost": lambda network, index: str(network[index + 1]),
    "cidrSubnet": lambda network, prefix, index: str(list(network.subnets(new_prefix=prefix))[index]),
}


@dataclasses.dataclass(frozen=True)
class Unknown:
    """A value that only the deployment has; `type` is Bicep's, or None, `of` where it comes from: `resource.id`."""

    type: str | None = None
    of: str | None = None


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several values."""

    values: tuple


@dataclasses.dataclass
class Parameter:
    type: str
    default: object = None
    has_default: bool = False
    decorators: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Resource:
    symbol: str
    type: str
    version: str
    existing: bool
    body: dict
    line: int


class Template:
    """A Bicep file, read by two parsers that others wrote. `problems` is what is wrong with it by itself."""

    def __init__(self, path, text=None, given=None):
        """`given`: values of parameters. Without it every parameter can be all that it allows, with it those that are not in it are their defaults."""
        self.path, self.given = path, given
        self.text = path.read_text() if text is None else text
        self.problems = []
        self.parameters, self.variables, self.outputs = {}, {}, {}
        self.nodes, self.used, self.loops = {}, set(), []
        BicepParser().parse(text=self.text)
        root = GRAMMAR.parse(self.text.encode()).root_node
        if root.has_error:
            raise SyntaxError(f"{path.name}: tree-sitter-bicep cannot read it")
        self._declare(root)
        self.resources = [self._resource(name, node) for name, node in self.nodes.items()]
        for name, (node, _) in self.outputs.items():
            self.outputs[name] = self.value(node)
        for name in (self.parameters | self.variables).keys() - self.used:
            self.problems.append(f"{name} is never used")

    def _declare(self, root):
        """Everything by name first: Bicep has no order."""
        decorators, parameters = {}, []
        for node in root.named_children:
            kind, names = node.type, [child for child in node.named_children if child.type == "identifier"]
            if kind == "comment":
                continue
            if kind == "decorators":
                decorators = {text(call.named_children[0]): call for call in map(lambda d: d.named_children[0], node.named_children)}
                continue
            name = text(names[0]) if names else None
            if any(name in known for known in (self.parameters, self.variables, self.nodes)) and kind != "output_declaration":
                self.problems.append(f"{name} is declared twice")
            if kind in ("parameter_declaration", "output_declaration") and "description" not in decorators:
                self.problems.append(f"{name} has no @description")
            if kind == "parameter_declaration":
                rest = node.named_children[2:]
                self.parameters[name] = Parameter(text(node.named_children[1]), has_default=bool(rest))
                parameters.append((self.parameters[name], rest, decorators))
            elif kind == "variable_declaration":
                self.variables[name] = node.named_children[-1]
            elif kind == "resource_declaration":
                self.nodes[name] = node
            elif kind == "output_declaration":
                self.outputs[name] = (node.named_children[-1], text(node.named_children[1]))
            else:
                self.problems.append(f"line {node.start_point.row + 1}: {kind} is not expected here")
            decorators = {}
        # Twice, because a default may name a parameter that is declared below it.
        for parameter, rest, found in parameters + parameters:
            parameter.decorators = {name: self._argument(call) for name, call in found.items()}
            if rest:
                parameter.default = self.value(rest[0])

    def _argument(self, call):
        return [self.value(argument) for argument in call.named_children[1].named_children if argument.type != "comment"][0]

    def _resource(self, name, node):
        kind = next(child for child in node.named_children if child.type == "string")
        body = node.named_children[-1]
        if body.type == "if_statement":
            self.value(body.named_children[0])
            body = body.named_children[-1]
        type_, _, version = self.value(kind).partition("@")
        existing = any(child.type == "existing" for child in node.children)
        return Resource(name, type_, version, existing, self.value(body), node.start_point.row + 1)

    def value(self, node):
        """A node of an expression as Python's dict, list, str, int, bool or None, OneOf or Unknown."""
        reader = getattr(self, f"_{node.type}", None)
        if reader is None:
            self.problems.append(f"line {node.start_point.row + 1}: cannot follow {node.type} {text(node)!r}")
            return Unknown()
        return reader(node)

    def _string(self, node):
        parts = [self.value(part.named_children[0]) if part.type == "interpolation" else text(part) for part in node.named_children]
        if any(isinstance(part, Unknown | OneOf) for part in parts):
            return Unknown("string")
        return "".join(str(part) for part in parts)

    def _number(self, node):
        return int(text(node))

    def _boolean(self, node):
        return text(node) == "true"

    def _null(self, _):
        return None

    def _array(self, node):
        return [self.value(child) for child in node.named_children if child.type != "comment"]

    def _object(self, node):
        found = {}
        for child in node.named_children:
            if child.type == "comment":
                continue
            key, *_, value = [part for part in child.named_children if part.type != "comment"]
            key = self._string(key) if key.type == "string" else text(key)
            if key in found:
                self.problems.append(f"line {child.start_point.row + 1}: {key} twice")
            found[key] = self.value(value)
        return found

    def _parenthesized_expression(self, node):
        return self.value(node.named_children[0])

    def _binary_expression(self, node):
        left, right = (self.value(child) for child in node.named_children)
        operator = text(node.children[1])
        if operator in ("==", "!=") and not any(isinstance(side, Unknown | OneOf) for side in (left, right)):
            return (left == right) == (operator == "==")
        return Unknown("bool")

    def _ternary_expression(self, node):
        condition, *either = (self.value(child) for child in node.named_children)
        if isinstance(condition, bool):
            return either[0 if condition else 1]
        return OneOf(tuple(either))

    def _identifier(self, node):
        name = text(node)
        self.used.add(name)
        if name in self.parameters:
            parameter = self.parameters[name]
            if self.given is not None and (name in self.given or parameter.has_default):
                return self.given.get(name, parameter.default)
            allowed = parameter.decorators.get("allowed")
            return OneOf(tuple(allowed)) if allowed else Unknown(parameter.type)
        if name in self.variables:
            return self.value(self.variables[name])
        if name in self.nodes:
            return Unknown("resource", name)
        self.problems.append(f"line {node.start_point.row + 1}: {name} is not declared")
        return Unknown()

    def _member_expression(self, node):
        of = self.value(node.named_children[0])
        name = text(node.named_children[-1])
        if isinstance(of, dict):
            if name not in of:
                self.problems.append(f"line {node.start_point.row + 1}: nothing has the member {name}")
            return of.get(name, Unknown())
        if isinstance(of, Unknown) and of.type == "resource" and name in ("id", "name", "location"):
            return Unknown("string", f"{of.of}.{name}")
        return Unknown()

    def _subscript_expression(self, node):
        of, key = (self.value(child) for child in node.named_children)
        if not isinstance(of, dict):
            return Unknown()
        return of[key] if isinstance(key, str) else OneOf(tuple(of.values()))

    def _call_expression(self, node):
        name = text(node.named_children[0])
        arguments = [self.value(child) for child in node.named_children[1].named_children if child.type != "comment"]
        if name not in FUNCTIONS:
            self.problems.append(f"line {node.start_point.row + 1}: function {name} is not known here")
        if name == "loadTextContent" and not (self.path.parent / arguments[0]).is_file():
            self.problems.append(f"line {node.start_point.row + 1}: no file {arguments[0]}")
        if name == "concat":
            return [item for argument in arguments for either in alternatives(argument) for item in either]
        if name == "string" and isinstance(arguments[0], int):
            return str(arguments[0])
        if name == "empty" and isinstance(arguments[0], list | str):
            return not arguments[0]
        if name.startswith("cidr") and not any(isinstance(argument, Unknown | OneOf) for argument in arguments):
            return CIDR[name](ipaddress.ip_network(arguments[0]), *arguments[1:])
        return Unknown(FUNCTIONS.get(name))


def alternatives(value):
    """Each value that it can be."""
    if isinstance(value, OneOf):
        return [inner for each in value.values for inner in alternatives(each)]
    return [value]


def text(node):
    return node.text.decode()
