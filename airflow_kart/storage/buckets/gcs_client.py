"""The HTTP session of GCSHook's client, and the meaning of its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_kart.connections import connection_id, pool_size, safe_cause, whose, without_passwords
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.storage.buckets.faults import (
    ConflictFault,
    ExpiredFault,
    Fault,
    MissingFault,
    RefusedFault,
    TransientFault,
)
from airflow_kart.storage.buckets.service import BucketKey

_SECONDS = (10, 60)
_THROTTLED = {"rateLimitExceeded", "userRateLimitExceeded"}


@dataclass(frozen=True, eq=False)
class GCSSession:
    """An authorised session with Google Cloud Storage, or with a stand-in for tests."""

    http: Any
    """A ``requests`` session."""
    endpoint: str
    who: str
    """For messages: the connection and the endpoint."""

    def request(self, method: str, path: str, place: BucketKey, **options: Any) -> Any:
        """Make a request; return the answer, which is never an error.

        Raises:
            Fault: the request failed, or its answer is an error.
        """
        with self.faults():
            answer = self.http.request(method, self.endpoint + path, timeout=_SECONDS, **options)
            if answer.status_code < 400:
                return answer
            with contextlib.closing(answer):
                raise self._fault_of_answer(answer, place)

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Raise the fault for each error inside the block, without passwords in its causes."""
        try:
            with self._faults():
                yield
        except Fault as fault:
            if safe_cause(fault) is None:
                fault.__cause__ = fault.__context__ = None
            raise

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        import http.client

        import google.auth.exceptions
        import requests
        import urllib3.exceptions

        try:
            yield
        except Fault:
            raise
        except requests.exceptions.SSLError as error:
            raise RefusedFault(f"the connection is not safe: {error}") from error
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
        ) as error:
            raise RefusedFault(f"the endpoint is no address: {error}") from error
        except google.auth.exceptions.TransportError as error:
            raise TransientFault(f"Google could not be asked for a token: {error}") from error
        except google.auth.exceptions.RefreshError as error:
            if getattr(error, "retryable", False):
                raise TransientFault(f"Google gave no token: {error}") from error
            raise ExpiredFault(
                "Google does not accept the credentials any more; renew those of the connection", self
            ) from error
        except google.auth.exceptions.GoogleAuthError as error:
            raise RefusedFault(f"there are no usable credentials: {error}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise TransientFault(f"no good answer came from the service: {error}") from error

    def _fault_of_answer(self, answer: Any, place: BucketKey) -> Fault:
        """Return the fault for an error answer."""
        status = int(answer.status_code)
        reasons, text = _told(answer)
        words = f"status {status}: {text}" if text else f"status {status}"
        if status == 404 and "bucket does not exist" not in text:
            return MissingFault(words)
        if status == 412:
            return ConflictFault(words)
        if status == 401:
            return ExpiredFault(
                "the service does not accept the credentials (any more); renew those of the connection", self
            )
        if status >= 500 or status in (408, 409, 429) or reasons & _THROTTLED:
            return TransientFault(words)
        if status == 404:
            return RefusedFault(f"there is no bucket {place.bucket}; create it, or correct workspace_directory")
        if status == 403:
            return RefusedFault(
                f"access denied; the credentials need storage.objects.get, .list, .create and .delete on the bucket "
                f"{place.bucket}, as the role Storage Object User has them ({text})"
            )
        return RefusedFault(words)


def new_session(given: str | None) -> GCSSession:
    """Return a new session.

    Args:
        given: the id of the connection that a DAG or a uri names.

    Raises:
        ConfigurationError: the connection or Airflow's Google provider is missing, or the connection is wrong.
    """
    try:
        from airflow.providers.google.cloud.hooks.gcs import GCSHook
        from google.cloud import storage
        from requests.adapters import HTTPAdapter
    except ImportError as error:
        raise ConfigurationError(
            f"gs:// uris need Airflow's Google provider ({error}): pip install 'airflow-kart[gcs]'"
        ) from error
    used = connection_id("gcp_conn_id", "google_cloud_default", given)
    who = whose(used, "google_cloud_default")
    try:
        # GCSHook insists on a connection; without one it would come to Google's default credentials too.
        client: Any = GCSHook(gcp_conn_id=used).get_conn() if used else storage.Client(project="none")
        session = client._http  # noqa: SLF001 - the client has no other way to its authorised session
    except Exception as error:  # noqa: BLE001 - hooks raise all kinds
        words = f"{type(error).__name__}: {without_passwords(str(error))}"
        raise ConfigurationError(
            f"no client for Google Cloud Storage could be made ({who}): {words}; correct the connection"
        ) from safe_cause(error)
    if type(session.get_adapter(client.api_endpoint)) is HTTPAdapter:  # not one with a certificate of the client's
        pool = HTTPAdapter(pool_maxsize=pool_size())
        session.mount(client.api_endpoint, pool)
    return GCSSession(session, client.api_endpoint, f"{who}, {without_passwords(client.api_endpoint)}")


def _told(answer: Any) -> tuple[set[str], str]:
    """Return the reasons and the message of an error answer."""
    try:
        error = answer.json()["error"]
        reasons = {str(each.get("reason")) for each in error.get("errors", ())}
        return reasons, str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return set(), str(answer.text)[:200].strip()
