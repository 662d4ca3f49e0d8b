"""What nginx is told: DagsHub's addresses of one repository, and who may do what there."""

import base64
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

UNSUPPORTED = '{"error": "unsupported endpoint, please contact support@dagshub.com"}'
READING_POSTS = "(?:runs/search|experiments/search|registered-models/get-latest-versions)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One repository, and the two tokens that it knows."""

    owner: str
    name: str
    user: str
    token: str = field(repr=False)
    read_only_token: str = field(repr=False)

    @property
    def path(self) -> str:
        """Where it lies below the site's address."""
        return f"/{self.owner}/{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sockets:
    """Where the parts behind nginx listen: files that only their owner reaches, since none of them asks who calls."""

    mlflow: Path
    s3: Path
    dav: Path
    signatures: Path

    @classmethod
    def below(cls, folder: Path) -> "Sockets":
        """Name them."""
        return cls(**{name: folder / f"{name}.socket" for name in ("mlflow", "s3", "dav", "signatures")})


def text(site: Site, sockets: Sockets, folder: Path, *, port: int, routes: list[str]) -> str:
    """Write nginx.conf.

    Args:
        site: The repository.
        sockets: Of the parts behind nginx.
        folder: For what nginx writes, and for what the HTTP remote holds.
        port: Where nginx listens, on loopback.
        routes: The paths that MLflow knows, as Flask writes them.
    """
    # Started by root, nginx works as somebody else, who may not look into the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return _HEAD.format(folder=folder, user=user, **_access(site)) + _SERVERS.format(
        folder=folder,
        port=port,
        path=site.path,
        known=_known(site.path, routes),
        unsupported=UNSUPPORTED,
        gate=_GATE,
        forward=_FORWARD,
        **{name: getattr(sockets, name) for name in ("mlflow", "s3", "dav", "signatures")},
    )


def _access(site: Site) -> dict[str, str]:
    # With ~ letters count as they stand; without it map takes them for equal to their capitals.
    def may(token: str) -> str:
        pairs = [f"{who}:{token}" for who in (site.user, token)]
        return "|".join(re.escape(base64.b64encode(pair.encode()).decode()) for pair in pairs)

    return {"writers": may(site.token), "readers": may(site.read_only_token), "reading_posts": READING_POSTS}


def _known(path: str, routes: list[str]) -> str:
    known = "|".join(re.escape(route).replace("<path:artifact_path>", ".+") for route in sorted(set(routes)))
    return f"~^{re.escape(path)}\\.mlflow(?!(?:{known})$)/(?:ajax-)?api/"


_GATE = """
            if ($verdict = 401) { add_header WWW-Authenticate 'Basic realm="DagsHub"' always; return 401; }
            if ($verdict = 403) { return 403; }"""

# A location with one proxy_set_header of its own inherits none.
_FORWARD = 'proxy_set_header Host $http_host; proxy_set_header Connection "";'

_HEAD = """daemon off;
worker_processes 1;
{user}
pid "{folder}/nginx.pid";
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    server_tokens off;
    client_max_body_size 0;
    client_body_temp_path "{folder}/nginx-body";
    proxy_temp_path "{folder}/nginx-proxy";
    fastcgi_temp_path "{folder}/nginx-fastcgi";
    uwsgi_temp_path "{folder}/nginx-uwsgi";
    scgi_temp_path "{folder}/nginx-scgi";
    proxy_http_version 1.1;

    map $http_authorization $who {{
        default nobody;
        "~^Basic (?:{writers})$" writer;
        "~^Basic (?:{readers})$" reader;
    }}
    map "$who $request_method $uri" $verdict {{
        "~^nobody " 401;
        "~^writer " 200;
        "~^reader (?:GET|HEAD) " 200;
        "~^reader POST .*/mlflow/{reading_posts}$" 200;
        default 403;
    }}
    # DVC uploads by POST; nginx's DAV knows PUT.
    map $request_method $dav_method {{
        default $request_method;
        POST PUT;
    }}
"""

_SERVERS = """
    map $uri $is_unsupported {{
        default 0;
        "{known}" 1;
    }}
    server {{
        listen 127.0.0.1:{port};

        location / {{ return 404; }}

        location ^~ {path}.mlflow/ {{{gate}
            default_type application/json;
            if ($is_unsupported) {{ return 404 '{unsupported}'; }}
            {forward}
            proxy_set_header Authorization "";
            proxy_pass "http://unix:{mlflow}:/";
        }}

        location ^~ {path}.dvc/ {{{gate}
            {forward}
            proxy_set_header Authorization "";
            proxy_method $dav_method;
            proxy_pass "http://unix:{dav}:/";
        }}

        location ^~ {path}.s3/ {{
            auth_request /signature;
            error_page 401 @unknown;
            error_page 403 @denied;
            {forward}
            proxy_set_header Authorization "";
            proxy_pass "http://unix:{s3}:/";
        }}
        location = /signature {{
            internal;
            {forward}
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Original-URI $request_uri;
            proxy_pass "http://unix:{signatures}:/";
        }}
        location @unknown {{
            default_type application/xml;
            return 401 '<Error><Code>InvalidAccessKeyId</Code><Message>unknown key or signature</Message></Error>';
        }}
        location @denied {{
            default_type application/xml;
            return 403 '<Error><Code>AccessDenied</Code><Message>this key may read only</Message></Error>';
        }}
    }}
    server {{
        listen "unix:{dav}";
        root "{folder}/dav";
        dav_methods PUT DELETE;
        create_full_put_path on;
    }}
}}
"""
