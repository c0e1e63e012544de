"""What Azure takes, by Microsoft's own SDKs: resource types and versions by their operations, properties by their models."""

import difflib
import enum
import functools
import importlib
import inspect
import re
import typing

from template import Unknown, alternatives

SDKS = {"Microsoft.Compute": "azure.mgmt.compute", "Microsoft.Network": "azure.mgmt.network"}
BICEP = {str: "string", int: "int", float: "int", bool: "bool"}
# Lists that the SDK has stopped keeping: there are more sizes than these.
OPEN = {"VirtualMachineSizeTypes"}
# What Bicep adds to every resource.
OF_BICEP = {"name", "parent", "dependsOn"}


def resource_types():
    """Model class and API version by resource type, as in a template."""
    found = {}
    for provider, sdk in SDKS.items():
        operations = importlib.import_module(f"{sdk}.operations._operations")
        classes = {name.lower(): of for name, of in vars(operations).items() if name.endswith("Operations")}
        source = inspect.getsource(operations)
        for name, body in re.findall(r"^def build_(\w+)_create_or_update_request\((.*?)^def ", source, re.S | re.M):
            url = "".join(re.findall(r'"([^"]*)"', re.search(r'_url = \(?((?:\s*"[^"]*"(?:\s*#.*)?)+)', body)[1]))
            type_ = re.sub(r"/\{\w+\}", "", url.partition("/providers/")[2])
            of = classes.get(name.replace("_", "") + "operations")
            call = getattr(of, "begin_create_or_update", None) or getattr(of, "create_or_update", None)
            model = body_model(call) if call else None
            if type_.startswith(provider) and model:
                found[type_] = (model, re.search(r'"api-version", "([^"]*)"', body)[1])
    return found


def body_model(call):
    """The model among what the call takes as body: a model, a mapping or bytes."""
    for parameter in inspect.signature(call).parameters.values():
        for option in typing.get_args(parameter.annotation):
            if is_model(option):
                return option
    return None


def is_model(option):
    return isinstance(option, type) and hasattr(option, "_calculated")


@functools.cache
def fields(model):
    """Of each property of a model: its type and whether it is for reading alone."""
    model.__new__(model)  # The SDK finds the properties of a model when the first of them is made.
    namespace = {"_models": importlib.import_module(model.__module__.rpartition(".")[0])}
    hints = typing.get_type_hints(model, {**vars(importlib.import_module(model.__module__)), **namespace})
    return {
        field._rest_name: (hints[attribute], field._visibility == ["read"])
        for attribute, field in model._attr_to_rest_field.items()
    }


def check_resource(resource, types):
    """What is wrong with a resource of a template."""
    if resource.type not in types:
        return [f"{resource.symbol}: {resource.type} is no resource type" + near(resource.type, types)]
    model, version = types[resource.type]
    wrong = [] if resource.version == version else [f"{resource.symbol}: version {resource.version}, and the models are of {version}"]
    body = {key: value for key, value in resource.body.items() if key not in OF_BICEP}
    if resource.existing:
        return wrong + [f"{resource.symbol}.{key}: of an existing resource" for key in body]
    if "name" not in resource.body:
        wrong.append(f"{resource.symbol}: no name")
    return wrong + check(body, model, resource.symbol)


def check(value, hint, path):
    """What is wrong with a value of a template where the SDK has this type."""
    found = []
    for one in alternatives(value):
        options = [option for option in (typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,))]
        if one is None:
            found += [] if type(None) in options else [f"{path}: null"]
        else:
            found += check_one(one, [option for option in options if option is not type(None)], path)
    return found


def check_one(value, options, path):
    enums = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if enums and isinstance(value, str) and not any(option.__name__ in OPEN for option in enums):
        known = [member.value for option in enums for member in option]
        return [] if value in known else [f"{path}: {value!r} is none of its values" + near(value, known)]
    (option, *_) = [option for option in options if option not in enums] or [str]
    if is_model(option):
        return check_object(value, option, path)
    origin, arguments = typing.get_origin(option), typing.get_args(option)
    if origin is list:
        if not isinstance(value, list):
            return [] if getattr(value, "type", "") in ("array", None) else [f"{path}: expected an array"]
        return [wrong for index, item in enumerate(value) for wrong in check(item, arguments[0], f"{path}[{index}]")]
    if origin is dict or option in (typing.Any, object):
        return []
    expected = BICEP.get(option)
    actual = value.type if isinstance(value, Unknown) else BICEP.get(type(value), "object")
    return [] if expected is None or actual in (expected, None) else [f"{path}: expected {expected}, found {actual}"]


def check_object(value, model, path):
    if isinstance(value, Unknown):
        return [] if value.type in ("object", None) else [f"{path}: expected an object, found {value.type}"]
    if not isinstance(value, dict):
        return [f"{path}: expected an object"]
    known, wrong = fields(model), []
    for key, inner in value.items():
        if key not in known:
            wrong.append(f"{path}.{key}: {model.__name__} has no such property" + near(key, known))
        elif known[key][1]:
            wrong.append(f"{path}.{key}: for reading alone")
        else:
            wrong += check(inner, known[key][0], f"{path}.{key}")
    for key, (hint, read_only) in known.items():
        if key not in value and not read_only and type(None) not in typing.get_args(hint):
            wrong.append(f"{path}.{key}: {model.__name__} needs it")
    return wrong


def near(name, known):
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
