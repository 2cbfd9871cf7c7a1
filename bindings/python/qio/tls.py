# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS: credentials, channels with TLS on them, and what a handshake has agreed on.

Owns: TLSCreds, TLSChannel, TLSInfo.  Keys and certificates are read when credentials are made;
after that they do not change, and any number of channels and threads use them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import _qio
from ._types import Path, Timeout
from .channel import Channel
from .errors import InvalidError
from .options import as_options

_X509, _PSK, _ANON = range(3)

#: A path, or the PEM text itself as bytes.
PathOrPEM = Path

_PEM = b"-----BEGIN "


def _material(value: Any, name: str) -> Any:
    """A path as str, PEM as bytes.  Bytes that are no PEM are a path, as everywhere in Python."""
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if _PEM in data:
            return data
        if b"\0" in data or b"\n" in data:
            # Perhaps a private key in another form, so it must not come into a message.
            raise InvalidError(f"{name} has to be a path, or PEM text as bytes; these "
                               f"{len(data)} bytes are neither (DER has to be made PEM)")
        return os.fsdecode(data)
    if isinstance(value, (str, os.PathLike)):
        text = os.fsdecode(value)
        if _PEM.decode() in text:
            raise TypeError(f"{name} has to be a path, or PEM text as bytes: encode the str")
        return text
    raise TypeError(f"{name} has to be a path, or PEM text as bytes, not {type(value).__name__}")


def _secret(value: Any, name: str) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"{name} has to be bytes or str, not {type(value).__name__}")


def check_creds(creds: Any, name: str = "creds") -> "TLSCreds":
    """creds itself when it is a TLSCreds, else a TypeError that says what would be."""
    if isinstance(creds, TLSCreds):
        return creds
    if any(cls.__name__ == "SSLContext" for cls in type(creds).__mro__):
        raise TypeError(f"{name} has to be a qio.TLSCreds, not an ssl.SSLContext: make it with "
                        "qio.TLSCreds.x509(ca=..., cert=..., key=...) from the same files")
    raise TypeError(f"{name} has to be a qio.TLSCreds (TLSCreds.x509(), .psk() or .anon()), "
                    f"not {type(creds).__name__}")


class TLSCreds(_qio.TLSCreds):
    """Who we are in TLS and whom we trust, for one role: client, or server=True.

    Made by x509(), psk() or anon().  priority: a GnuTLS priority string.
    """

    __slots__ = ()

    @classmethod
    def x509(cls, *, ca: PathOrPEM | None = None, cert: PathOrPEM | None = None,
             key: PathOrPEM | None = None, crl: PathOrPEM | None = None,
             dir: Path | None = None, password: str | bytes | None = None,
             server: bool = False, verify: bool = True, priority: str | None = None,
             sanity: bool = True,
             authorize: Callable[[Channel, str], bool] | None = None) -> "TLSCreds":
        """Certificates.  Each of ca, cert, key and crl is a path, or PEM text as bytes.

        dir: a folder with ca-cert.pem, ca-crl.pem, server-cert.pem, server-key.pem,
        client-cert.pem, client-key.pem, those of our role.  Without ca a client trusts what the
        system trusts.  password: of an encrypted key.  verify: whether the other side has to
        show a certificate that ca vouches for; a server with verify=True demands one of its
        clients.  authorize(channel, identity): asked for the distinguished name of each peer;
        false ends the handshake, an exception leaves from the call that does the handshake.
        """
        creds = _make(_X509, server, priority, {
            "tls_ca": _material(ca, "ca"), "tls_cert": _material(cert, "cert"),
            "tls_key": _material(key, "key"), "tls_crl": _material(crl, "crl"),
            "tls_dir": None if dir is None else os.fsdecode(dir),
            "tls_password": _secret(password, "password"), "tls_verify": bool(verify),
            "tls_sanity": bool(sanity)})
        if authorize is not None:
            creds._set_authorize(authorize)
        return creds

    @classmethod
    def psk(cls, *, file: Path | None = None, user: str | None = None,
            key: bytes | None = None, lookup: Callable[[str], bytes | None] | None = None,
            server: bool = False, priority: str | None = None,
            authorize: Callable[[Channel, str], bool] | None = None) -> "TLSCreds":
        """A key that both sides have.

        A client has user, and key (raw bytes) or a file of user:hexkey lines; a server has a
        file, or lookup(user), which gives the user's key as raw bytes, or None.
        """
        if key is not None and not isinstance(key, (bytes, bytearray, memoryview)):
            raise TypeError(f"key has to be bytes, not {type(key).__name__}")
        creds = _make(_PSK, server, priority, {
            "tls_psk_file": None if file is None else os.fsdecode(file), "tls_psk_user": user,
            "tls_psk_key": None if key is None else bytes(key)})
        if lookup is not None:
            creds._set_lookup(lookup)
        if authorize is not None:
            creds._set_authorize(authorize)
        return creds

    @classmethod
    def anon(cls, *, server: bool = False, priority: str | None = None) -> "TLSCreds":
        """No proof of who anybody is: safe from listeners, not from impostors."""
        return _make(_ANON, server, priority, {})

    def __repr__(self) -> str:
        return f"<TLSCreds at {id(self):#x}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials cannot be pickled or copied")


def _make(kind: int, server: bool, priority: str | None, keys: dict[str, Any]) -> TLSCreds:
    keys = {key: value for key, value in keys.items() if value is not None}
    if priority is not None:
        keys["tls_priority"] = priority
    return _qio.creds_new(kind, as_options(keys) or {}, server)


class TLSInfo:
    """What is known of a TLS connection; None or () before the handshake."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def version(self) -> str | None:
        """"TLS1.3" ..."""
        return self._channel._tls_str("version")

    @property
    def cipher(self) -> str | None:
        """The cipher in use."""
        return self._channel._tls_str("cipher")

    @property
    def alpn(self) -> str | None:
        """The protocol agreed on, None for none."""
        return self._channel._tls_str("alpn") or None

    @property
    def hostname(self) -> str | None:
        """The name that the client asked for."""
        return self._channel._tls_str("hostname") or None

    @property
    def peer_name(self) -> str | None:
        """The other side: the distinguished name of its certificate, or the user of a PSK."""
        return self._channel._tls_str("peer-name") or None

    @property
    def resumed(self) -> bool:
        """Whether an earlier session was taken up."""
        return self._channel._tls_str("resumed") == "on"

    @property
    def peer_certificate(self) -> bytes | None:
        """The other side's certificate, DER."""
        return self._channel._tls_certificate(0)

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """All the certificates that the other side sent, its own first, DER."""
        chain: list[bytes] = []
        while (one := self._channel._tls_certificate(len(chain))) is not None:
            chain.append(one)
        return tuple(chain)

    def export(self, label: str, length: int, context: bytes | None = None) -> bytes:
        """Key material that both sides can derive and nobody else (RFC 5705)."""
        return self._channel._tls_export(label, length, context)

    def __repr__(self) -> str:
        return f"<TLSInfo {self.version} {self.cipher}>"


class TLSChannel(Channel):
    """TLS over another channel: see Channel.start_tls()."""

    __slots__ = ("_creds",)

    _creds: TLSCreds

    def rekey(self) -> None:
        """Change the keys that we encrypt with (TLS 1.3)."""
        self._tls_rekey()


def start(channel: Channel, creds: Any, server: bool, hostname: str | None,
          alpn: Sequence[str] | None, keys: dict[str, Any]) -> TLSChannel:
    """A TLS layer on a channel, before its handshake."""
    creds = check_creds(creds)
    if hostname is not None:
        keys["tls_hostname"] = hostname
    if alpn is not None:
        keys["tls_alpn"] = [alpn] if isinstance(alpn, str) else list(alpn)
    layer = channel._new_tls(creds, as_options(keys), server)
    layer._creds = creds
    return layer
