"""Check the signatures (AWS's version 4) of requests to the storage, for nginx's auth_request.

rclone could, but takes a request's path without what nginx removed from it: every signature would be wrong.
"""

import hmac
import http.server
import re
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

FORM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/\d{8}/([^/,]+)/s3/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
READS = {"GET", "HEAD"}
OK, UNKNOWN, DENIED = 200, 401, 403


def verdict(headers: Mapping[str, str], *, writer: str, reader: str) -> int:
    """Say what to answer a request whose method and address stand in X-Original-Method and X-Original-URI.

    Args:
        headers: Of the request, their names in small letters.
        writer: The key, and its secret, that may do everything.
        reader: The one that may read.
    """
    found = FORM.fullmatch(headers.get("authorization", ""))
    if found is None or found[1] not in {writer, reader}:
        return UNKNOWN
    key, region, names, signature = found.groups()
    method = headers["x-original-method"]
    request = AWSRequest(
        method=method,
        url=f"http://{headers.get('host', '')}{headers['x-original-uri']}",
        headers={name: headers.get(name, "") for name in names.split(";")},
    )
    request.context["timestamp"] = headers.get("x-amz-date", "")
    auth = S3SigV4Auth(Credentials(key, key), "s3", region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if not hmac.compare_digest(expected, signature):
        return UNKNOWN
    return OK if key == writer or method in READS else DENIED


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def serving(socket: Path, *, writer: str, reader: str) -> Iterator[None]:
    """Answer nginx at a socket, on threads of this process."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(verdict(headers, writer=writer, reader=reader))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def address_string(self) -> str:
            return "nginx"

        def log_message(self, *words: object) -> None:
            del words

    with _Server(str(socket), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
