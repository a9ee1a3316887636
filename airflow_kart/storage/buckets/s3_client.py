"""The client of S3Hook, and the meaning of its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from airflow_kart.connections import connection_id, pool_size, safe_cause, whose, without_passwords
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.storage.buckets.faults import (
    BusyFault,
    ConflictFault,
    ExpiredFault,
    Fault,
    LostUploadFault,
    MissingFault,
    RefusedFault,
    TransientFault,
)
from airflow_kart.storage.buckets.s3_quick import BEFORE_PARSE, QuickReads, read_listing
from airflow_kart.storage.buckets.service import BucketKey

_CONNECT_SECONDS = 10
_READ_SECONDS = 60

_TRANSIENT = {
    "BadDigest",
    "BandwidthLimitExceeded",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_DENIED = {"403", "AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden"}
_WRONG_CREDENTIALS = {"InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "UnrecognizedClientException"}
_OTHER_REGION = {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_KINDS: dict[str, type[Fault]] = {
    "404": MissingFault,
    "412": ConflictFault,
    "ConditionalRequestConflict": BusyFault,
    "NoSuchKey": MissingFault,
    "NoSuchUpload": LostUploadFault,
    "PreconditionFailed": ConflictFault,
}


def new_client(given: str | None) -> tuple[Any, str, QuickReads]:
    """Return a new boto3 client for S3, its connection and endpoint in words, and its quick reads.

    Args:
        given: the id of the connection that a DAG or a uri names.

    Raises:
        ConfigurationError: the connection or Airflow's Amazon provider is missing, or the connection is wrong.
    """
    try:
        import botocore.config
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError as error:
        raise ConfigurationError(
            f"s3:// uris need Airflow's Amazon provider ({error}): pip install 'airflow-kart[s3]'"
        ) from error
    used = connection_id("aws_conn_id", "aws_default", given)
    who = whose(used, "aws_default")
    wanted = botocore.config.Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=pool_size(),
    )
    try:
        hook = S3Hook(aws_conn_id=used)
        # What the connection's config_kwargs say goes before what is wanted here.
        client = hook.get_client_type(config=wanted.merge(hook.config))
    except Exception as error:  # noqa: BLE001 - hooks raise all kinds
        words = f"{type(error).__name__}: {without_passwords(str(error))}"
        raise ConfigurationError(f"no S3 client could be made ({who}): {words}; correct the connection") from safe_cause(
            error
        )
    client.meta.events.register_first(BEFORE_PARSE, read_listing)
    return client, f"{who}, {without_passwords(client.meta.endpoint_url)}", QuickReads(client)


@contextlib.contextmanager
def faults_of(client: Any, place: BucketKey) -> Iterator[None]:
    """Raise the fault for each error inside the block, without passwords in its causes."""
    try:
        with _faults_of(client, place):
            yield
    except Fault as fault:
        if safe_cause(fault) is None:
            fault.__cause__ = fault.__context__ = None
        raise


@contextlib.contextmanager
def _faults_of(client: Any, place: BucketKey) -> Iterator[None]:
    import http.client

    import botocore.exceptions as botocore_errors
    import urllib3.exceptions

    try:
        yield
    except Fault:
        raise
    except botocore_errors.ClientError as error:
        raise _fault_of_answer(error.response, error.operation_name, client, place.bucket) from error
    except (botocore_errors.NoCredentialsError, botocore_errors.PartialCredentialsError) as error:
        raise RefusedFault(f"there are no complete credentials: {error}") from error
    except botocore_errors.SSLError as error:
        raise RefusedFault(f"the connection is not safe: {error}") from error
    except (
        botocore_errors.ConnectionError,
        botocore_errors.HTTPClientError,
        botocore_errors.FlexibleChecksumError,
    ) as error:
        raise TransientFault(f"no good answer came from the service: {error}") from error
    except (botocore_errors.IncompleteReadError, botocore_errors.ResponseStreamingError) as error:
        raise TransientFault(f"the answer was cut short: {error}") from error
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise TransientFault(f"the connection broke: {error}") from error
    except botocore_errors.BotoCoreError as error:
        if type(error).__name__ == "ResponseParserError":
            raise TransientFault("the answer could not be understood") from error
        raise RefusedFault(f"{type(error).__name__}: {error}") from error


def _fault_of_answer(answer: Any, operation: str, client: Any, bucket: str) -> Fault:
    """Return the fault for an error answer."""
    code, text = str(answer.get("Error", {}).get("Code", "")), answer.get("Error", {}).get("Message", "")
    meta = answer.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    words = f"{code}: {text}" if text else code or f"status {status}"
    if code == "NotImplemented":
        return RefusedFault(f"the service cannot do what is asked for ({text}); it has to know conditional requests")
    if code in _KINDS:
        return _KINDS[code](words)
    if code in _EXPIRED:
        return ExpiredFault("the credentials have expired; renew those of the connection", client)
    if code in _TRANSIENT or status >= 500 or status == 429:
        return TransientFault(words)
    if code in _OTHER_REGION or (status == 400 and region):
        there = f"in region {region}" if region else "in another region"
        return RefusedFault(f"the bucket {bucket} is {there}; set region_name in the connection's extra")
    if operation.startswith("AssumeRole"):  # the client does so by itself, before the request
        return RefusedFault(f"the role of the connection could not be assumed: {words}")
    return RefusedFault(_refusal(code, bucket) or words)


def _refusal(code: str, bucket: str) -> str:
    """Return the reason of a refusal and the remedy, for known codes."""
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket}; create it, or correct workspace_directory"
    if code in _WRONG_CREDENTIALS:
        return f"the service does not accept the credentials ({code}); correct those of the connection"
    if code in _DENIED:
        return (
            f"access denied; the credentials need s3:ListBucket on the bucket {bucket} (to list uploads, "
            "s3:ListBucketMultipartUploads too), and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload "
            "on its objects"
        )
    return ""
