"""Small objects in S3 through obstore, where the extra ``fast`` has installed obstore.

obstore makes a request in a tenth of botocore's processor time. It gets the address, the region and the current credentials
of botocore's client, and one attempt. Where obstore cannot answer, for any reason, the client asks anew by itself: faults,
retries and new credentials are the client's alone.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import urllib.request
from typing import Any

from airflow_kart.storage.base import ObjectContent
from airflow_kart.storage.buckets.faults import MissingFault

_LARGEST = 1 << 20
_user: dict[str, int] = {}
"""The id of the process that uses obstore, whose threads do not survive a fork: a request of a child would wait for ever."""


class FastReads:
    """Small reads from one bucket.

    Args:
        client: the client of boto3.
        url: the bucket's address, with a slash at its end.
        context: the context of the client's request for an object of the bucket.
    """

    def __init__(self, client: Any, url: str, context: dict[str, Any]) -> None:
        self._client = client
        self._url = url
        signing = context.get("signing", {})
        self._region = signing.get("region") or client.meta.region_name
        plain = "identity_cache" not in signing and self._region != "*"  # no express bucket, no bucket of many regions
        self._usable = plain and _is_plain(client, url)
        self._making = threading.Lock()
        self._made: tuple[Any, Any] = None, None
        """The credentials, and obstore's store with them."""

    def read(self, key: str) -> ObjectContent | None:
        """Return an object's bytes and version, or ``None`` where the client has to ask.

        Raises:
            MissingFault: the object does not exist.
        """
        if not self._usable or key.strip("/") != key or _user.setdefault("pid", os.getpid()) != os.getpid():
            return None
        try:
            frozen = self._client._request_signer._credentials.get_frozen_credentials()  # noqa: SLF001 - as the client's own signer
            known, store = self._made
            if frozen != known:
                with self._making:
                    known, store = self._made
                    if frozen != known:
                        store = self._new_store(frozen)
                        self._made = frozen, store
            found = store.get(key)
            facts = found.meta
            if facts["path"] == key and facts["size"] <= _LARGEST and facts["e_tag"]:
                return ObjectContent(bytes(found.bytes()), facts["e_tag"])
        except FileNotFoundError as error:
            if "<Code>NoSuchKey</Code>" in str(error):
                raise MissingFault("NoSuchKey") from None
        except Exception:  # noqa: BLE001, S110 - the client finds out what is wrong, and says it in its own words
            pass
        return None

    def _new_store(self, frozen: Any) -> Any:
        from obstore.store import S3Store

        address = self._url.rstrip("/")
        secrets: Any = {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": None,
        }
        return S3Store(
            "bucket",  # the address has the bucket's name
            config={
                "endpoint": address,
                "aws_endpoint_url_s3": address,  # else a variable of the environment goes first
                "virtual_hosted_style_request": True,
                "region": self._region,
                "skip_signature": False,
            },
            client_options={"allow_http": True, "connect_timeout": "10s", "timeout": "60s"},
            retry_config={"max_retries": 0},
            credential_provider=lambda: secrets,
        )


def _is_plain(client: Any, url: str) -> bool:
    """Whether obstore is there and reaches the service as the client does: without a proxy, by the usual certificates."""
    config, session = client.meta.config, client._endpoint.http_session  # noqa: SLF001 - botocore keeps certificates there only
    return (
        importlib.util.find_spec("obstore") is not None
        and config.signature_version == "s3v4"
        and client._request_signer._credentials is not None  # noqa: SLF001
        and not (config.proxies or config.client_cert or urllib.request.getproxies())
        and (session._verify is True or url.startswith("http:"))  # noqa: SLF001
    )
