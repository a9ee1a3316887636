"""OpenLineage: the datasets that a kart operator reads and writes, as Airflow's OpenLineage provider asks for them.

Imported only where that provider is installed. Datasets are named by the specification's rules: ``file`` and a path,
``s3://bucket`` and a key, ``gs://bucket`` and a key (https://openlineage.io/docs/spec/naming).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    RunFacet,
    dataset_version_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    storage_dataset,
)

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.identity.names import logical_class_name
from airflow_kart.tasks.declarations import public_values
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.outputs import needed_targets, targets_of

_SCHEMES = {"s3a": "s3", "gcs": "gs"}
_MOST_SCHEMAS = 100  # of inputs: each costs a request


def lineage_of(task: Task, result: Mapping[str, Any] | None) -> OperatorLineage[Any, Any]:
    """Return a task's inputs and outputs in the current workspace, with versions and schemas from their sidecars.

    Args:
        task: the task, resolved.
        result: the XCom of the ended task; ``None`` before the end and after a failure: outputs have no version then.
    """
    targets = [target.located() for _, target in targets_of(task)]
    written = {} if result is None or kind_of(task).external else {target.uri: target.sidecar() for target in targets}
    read = {uri: sha256 for sidecar in written.values() if sidecar is not None for uri, sha256 in sidecar.inputs.items()}
    needed = [target.located() for _, _, target in needed_targets(task)]
    described = {target.uri: target.sidecar() for target in islice(needed, _MOST_SCHEMAS)}
    inputs = [
        InputDataset(*dataset_name(uri), facets=_facets(uri, sidecar, read.get(uri)))
        for uri, sidecar in ((target.uri, described.get(target.uri)) for target in needed)
    ]
    outputs = [] if kind_of(task).external else [_output(target.uri, written.get(target.uri)) for target in targets]
    told = {name: result[name] for name in ("outcome", "reason", "seconds") if result is not None and name in result}
    values = {name: str(value) for name, value in public_values(task).items()}
    about = {"uniqueId": task.unique_id, "taskClass": logical_class_name(type(task)), "parameters": values, **told}
    return OperatorLineage(inputs, outputs, run_facets={"kart": RunFacet().with_additional_properties(**about)})


def dataset_name(uri: str) -> tuple[str, str]:
    """Return the namespace and the name of an artifact's dataset."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        return "file", rest or uri
    bucket, _, key = rest.partition("/")
    return f"{_SCHEMES.get(scheme, scheme)}://{bucket}", key


def _output(uri: str, sidecar: Sidecar | None) -> OutputDataset:
    found = sidecar.artifact if sidecar is not None else None
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
    counts: dict[str, Any] = (
        {"outputStatistics": statistics(rowCount=found.rows, size=found.bytes)} if found is not None else {}
    )
    return OutputDataset(*dataset_name(uri), facets=_facets(uri, sidecar, None), outputFacets=counts)


def _facets(uri: str, sidecar: Sidecar | None, read: str | None) -> dict[str, Any]:
    """Return the facets of a dataset; ``read`` is the checksum of the bytes that the task loaded."""
    facets: dict[str, Any] = {}
    version = read or (sidecar.artifact.sha256 if sidecar is not None else None)
    if version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)
    if sidecar is not None:
        layer = dataset_name(uri)[0].partition(":")[0]
        facets["storage"] = storage_dataset.StorageDatasetFacet(storageLayer=layer, fileFormat=sidecar.artifact.format)
        if sidecar.artifact.columns:
            fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in sidecar.artifact.columns.items()]
            facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    return facets
