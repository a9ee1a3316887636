"""The content of a task: everything that its result is made of, with inputs by checksum in place of unique ids.

The unique id names what is asked for: it counts inputs by their unique ids. The content counts them by their bytes. So a task
downstream of one that ran again, or that has another id now, has the same content as before where the bytes are equal, and
then the same random numbers and, from a deterministic ``run()``, the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from airflow_kart.artifacts.sidecar import ArtifactRecord
from airflow_kart.artifacts.sidecar.jsonable import encoded
from airflow_kart.artifacts.sidecar.source import code_of, source_of
from airflow_kart.artifacts.target import Target
from airflow_kart.formats import options_of
from airflow_kart.formats.base import reading_options
from airflow_kart.identity.code import AUTO
from airflow_kart.identity.encoding import digest, encode, encode_items
from airflow_kart.identity.names import PACKAGE, logical_class_name
from airflow_kart.parameters.parametrized import Parametrized, encoded_parameters, encoded_significant, held_tasks
from airflow_kart.tasks.inputs import outputs_of
from airflow_kart.tasks.model import Task, task_state
from airflow_kart.tasks.nesting import KeyPath, leaves
from airflow_kart.tasks.outputs import read_targets
from airflow_kart.tasks.resolution import resolve

_CONTENT = b"airflow-kart/content/1"
_KEY = b"airflow-kart/content-key/1"
_DESCRIPTION = b"airflow-kart/description/1"


def input_content(task: Task, target: Target, sha256: str, record: ArtifactRecord | None = None) -> str:
    """Return as a text what a load depends on: the bytes, and how they are decoded. In a CSV, ``1`` may be a number or a text.

    Args:
        task: the task that makes the input.
        target: the input.
        sha256: of its bytes.
        record: from its sidecar; ``None`` for an external artifact, which its target alone says how to decode.
    """
    given, checks = target.format, target.checks
    how = [record.format, record.options, record.type, record.columns] if record else [given.name, options_of(given)]
    code: list[object] = []
    foreign = not type(given).__module__.startswith(f"{PACKAGE}.") or hasattr(given, "load_function")
    if foreign or checks.schema is not None:  # code of others, which may return anything
        code = [*(code_of(cls).get("") for cls in (type(task), type(given))), _description(task).hex()]
    types = sorted((name, repr(wanted)) for name, wanted in checks.column_types.items())
    return encoded([sha256, reading_options(given), code, types, *how], in_order=True)


def content_of(task: Task, contents: Mapping[str, str], code: Mapping[str, str | None] | None = None) -> bytes | None:
    """Return the digest of a task's content, 16 bytes: class, code version, parameters, and each input by its keys.

    Args:
        task: the task.
        contents: each input by uri, as :func:`input_content` returns it.
        code: ``code_version`` and ``fingerprint`` of the code, as a sidecar has them; by default those of the loaded class.

    Returns:
        ``None`` where the bytes of an input are unknown, or where the task holds a task, as a parameter, that it does not
        require: nobody knows what the task takes from that.
    """
    resolution = resolve(task)
    required = {found.unique_id for _, found in resolution.inputs}
    if any(held.unique_id not in required for held in cast("Iterable[Task]", held_tasks(task))):
        return None
    inputs = []
    for path, found in resolution.inputs:
        loaded: list[tuple[KeyPath, str]] = [(keys, target.uri) for keys, target in leaves(outputs_of(found), Target)]
        uris = {uri for _, uri in loaded}
        loaded += [((), target.uri) for target in read_targets(found) if target.uri not in uris]  # a wrapper's own
        read = [[list(keys), contents.get(uri)] for keys, uri in loaded]
        if any(content is None for _, content in read):
            return None
        inputs.append([list(path), read])
    version = resolution.version
    if code is not None:
        version = f"{AUTO} {code['fingerprint']}" if code["code_version"] == AUTO else code["code_version"]
    named = encode(resolution.class_name), encode(version)
    return digest(_CONTENT, [*named, *_described_parameters(task), encode(encoded(inputs))])


def _described_parameters(task: Task) -> list[bytes]:
    """Return the encoded parameters of a task, with descriptions of the tasks that it holds: ``run()`` may read theirs."""
    holding = {name for name, parameter in type(task).get_parameters().items() if parameter.holds_tasks}
    if not holding:
        return [encoded_significant(cast(Parametrized, task)), encode([])]
    found = encoded_parameters(cast(Parametrized, task))
    plain = {name: encoded for name, encoded in found.items() if name not in holding}
    held = [[name, *(_description(one).hex() for one in _held_by(task, name))] for name in sorted(holding & found.keys())]
    return [encode_items(plain), encode(held)]


def _held_by(task: Task, name: str) -> tuple[Task, ...]:
    held = getattr(task, name)
    return held if isinstance(held, tuple) else () if held is None else (held,)


def _description(task: Task) -> bytes:
    """Return the digest of a task's class and parameters, also of the tasks that it holds: neither of code nor of inputs."""
    waiting = [task]
    while waiting:
        one = waiting[-1]
        state = task_state(one)
        lacking = [held for held in cast("Iterable[Task]", held_tasks(one)) if task_state(held).description is None]
        if state.description is None and lacking:
            waiting += lacking
            continue
        if state.description is None:
            state.description = digest(_DESCRIPTION, [encode(logical_class_name(type(one))), *_described_parameters(one)])
        waiting.pop()
    return cast(bytes, task_state(task).description)


def content_key(task: Task, content: bytes, targets: Iterable[tuple[KeyPath, Target]]) -> str | None:
    """Return the key by which an artifact of the same content is found, 32 hex digits.

    The key counts the code, whatever ``code_version`` says, and how each output is written.

    Args:
        task: the task.
        content: from :func:`content_of`.
        targets: what the task writes itself, with their keys.

    Returns:
        ``None`` for code without a fingerprint and without a version.
    """
    code = resolve(task).fingerprint or source_of(type(task))["fingerprint"]
    if code is None and type(task).code_version is None:
        return None
    written = [
        [list(path), target.format.name, encoded(options_of(target.format), in_order=True)] for path, target in targets
    ]
    return digest(_KEY, [content, encode(code), encode(written)]).hex()
