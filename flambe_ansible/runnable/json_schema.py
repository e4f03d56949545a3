"""JSON Schema (draft 7) of the files of experiments and runnables for editors."""

from __future__ import annotations

from typing import Any

from flambe_ansible.config.document import EXPERIMENT
from flambe_ansible.config.extension import describe_arguments
from flambe_ansible.runnable.checks import FIELDS, MAX_NAME, NAME
from flambe_ansible.runnable.runnable import Runnable
from flambe_ansible.validation import Field, Kind
from flambe_ansible.validation.json_schema import DRAFT, TEXT, describe_extensions, describe_fields

_MAPPING = {"type": "object"}
_FLAG = {"type": "boolean"}
# The fields of flambé's Experiment; the values of classes, such as stages, depend on the class.
DESCRIPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "name": (
        {**TEXT, "pattern": f"^{NAME.pattern}$", "maxLength": MAX_NAME},
        "The experiment's name, of letters, digits, - and _. Results are in <name>/output__<name> on the orchestrator.",
    ),
    "pipeline": ({**_MAPPING, "minProperties": 1}, "The stages by name, each with the tag of its class."),
    "resume": (
        {"anyOf": [TEXT, {"type": "array", "items": TEXT}, _FLAG, {"type": "null"}]},
        "Continue from earlier results: a stage and all before it, a list of stages, or true.",
    ),
    "devices": ({"type": ["object", "null"]}, "The devices of each trial, such as {cpu: 2, gpu: 1}."),
    "save_path": ({"type": ["string", "null"]}, "The folder of the results on this machine; set for a cluster."),
    "resources": (
        {"type": ["object", "null"], "propertyNames": {"pattern": f"^{NAME.pattern}$"}, "additionalProperties": TEXT},
        "Files by name: a path or URL that is sent to all hosts, or !cluster PATH on the hosts.",
    ),
    "search": ({"type": ["object", "null"]}, "The search algorithm of each stage."),
    "schedulers": ({"type": ["object", "null"]}, "The scheduler of each stage."),
    "reduce": ({"type": ["object", "null"]}, "How many variants of each stage are kept, by stage."),
    "env": ({}, "The cluster that the experiment runs on; set for a cluster."),
    "max_failures": ({"type": "integer", "minimum": 0}, "How often a failed trial is repeated."),
    "stop_on_failure": (_FLAG, "Whether the experiment ends at the first stage that fails."),
    "merge_plot": (_FLAG, "Whether TensorBoard shows all variants of a stage in one plot."),
}
_ENV = Field(
    name="env",
    kind=Kind.ANY,
    expected="nothing: it is set when the runnable is submitted",
    doc="The cluster that it runs on.",
)


def describe_runnables(tag: str = EXPERIMENT) -> dict[str, Any]:
    """Return the JSON Schema of files with an experiment or a custom runnable, and with a document of extensions.

    A mapping with a ``pipeline`` is an experiment. The arguments of a custom runnable are those of its class.

    Args:
        tag: The tag of the experiment; a subclass in an extension can have more fields.
    """
    others = [name for name in FIELDS if name != "name"]
    experiment = {
        "title": tag,
        "type": "object",
        "properties": {name: {**kind, "description": text} for name, (kind, text) in DESCRIPTIONS.items()},
        "required": ["name", "pipeline"],
        "additionalProperties": tag != EXPERIMENT,
    }
    custom = {"title": "a custom runnable", "type": "object", "propertyNames": {"not": {"enum": others}}}
    return {
        "$schema": DRAFT,
        "title": "An experiment or a runnable of flambe-ansible",
        "if": {"required": ["pipeline"]},
        "then": {"$ref": "#/definitions/Experiment"},
        "else": {"anyOf": [{"$ref": "#/definitions/extensions"}, {"$ref": "#/definitions/custom"}]},
        "definitions": {
            "Experiment": experiment,
            "custom": custom,
            "extensions": describe_extensions(unlike=FIELDS),
        },
    }


def describe_runnable_class(runnable_class: type[Runnable]) -> dict[str, Any]:
    """Return the JSON Schema of files with a runnable of this class: its fields are the constructor's arguments.

    A file's document of extensions must declare the extension of the class.
    """
    tag = runnable_class.tag()
    module = tag[1:].partition(".")[0]
    arguments = describe_arguments(runnable_class, known={_ENV.name: _ENV})
    fields = [one for one in arguments if one.name != "user_provider"]  # a file cannot contain a function
    extensions = describe_extensions(unlike=[one.name for one in fields if one.required and one.name != module])
    undeclared = {"propertyNames": {"not": {"pattern": rf"^{module}(\.|$)"}}}
    return {
        "$schema": DRAFT,
        "title": f"A {tag} of flambe-ansible",
        "anyOf": [{"$ref": "#/definitions/class"}, {"$ref": "#/definitions/extensions"}],
        "definitions": {
            "class": {"title": tag, **describe_fields(fields)},
            "extensions": {**extensions, "not": undeclared},
        },
    }
