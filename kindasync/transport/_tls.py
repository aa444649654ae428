"""TLS: the context of an endpoint that wants it."""

from __future__ import annotations

import ssl

from kindasync.errors import EngineUnreachable
from kindasync.transport._endpoint import Endpoint


def context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """The client's side of TLS for `endpoint`, or None where it is plain.

    Raises: EngineUnreachable for files that cannot be read or do not belong together.
    """
    files = endpoint.tls
    if files is None:
        return None
    try:
        result = ssl.create_default_context(cafile=files.ca)
        result.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on; Docker's own guide makes certificates that fail it
        if not files.verify:
            result.check_hostname = False
            result.verify_mode = ssl.CERT_NONE
        if files.cert:
            result.load_cert_chain(files.cert, files.key)
    except OSError as error:  # ssl.SSLError is one
        raise EngineUnreachable(
            f"cannot use the TLS files for {endpoint}",
            why=str(error),
            hint="DOCKER_CERT_PATH names a directory with ca.pem, cert.pem and key.pem, as the docker client uses it",
        ) from error
    return result
