"""Mints linkseal tracking links (format v1). Python 3.8 or newer, standard library only.

    minter = Minter(1, key_hex, "links.customer.example")
    message = uuid.uuid4()                      # never anything that identifies the recipient
    base = "https://links.customer.example"     # plus links.prefix, if the edge has one
    minter.open_url(base, message)
    minter.click_url(base, message, 0, "https://example.com/")
    minter.unsubscribe_url(base, message, 1)

The key is the last of the edge's `links.keys`: the first argument is its id, `key_hex` the content of its
file. The tenant is the domain's: its own name, unless it was registered with another. For a tenant without
a domain of its own, the base ends in /t/{tenant}.
"""

import base64
import hashlib
import hmac
import re
import struct
import time
import uuid

OPEN, CLICK, UNSUBSCRIBE = 0x11, 0x12, 0x13
_LETTERS = {OPEN: "o", CLICK: "c", UNSUBSCRIBE: "u"}
_TAG = 16
_MAX_DESTINATION = 4096


class Minter:
    """Mints the links of one tenant under one key."""

    def __init__(self, key_id, key_hex, tenant):
        if not 0 <= key_id <= 255:
            raise ValueError("a key id must be 0 to 255")
        secret = bytes.fromhex(key_hex.strip())
        if len(secret) != 32:
            raise ValueError("a link key must be 64 hexadecimal digits (32 bytes)")
        self._key_id = key_id
        self._key = _hkdf_sha256(secret, b"linkseal/v1/" + tenant.encode("utf-8"))

    def open(self, message, issued_at=None):
        """The token of the message's open pixel. `issued_at` is in Unix seconds and defaults to now."""
        return self._seal(OPEN, message, issued_at, b"")

    def click(self, message, link, destination, issued_at=None):
        """The token of a link; `link` (0 to 65535) distinguishes the links of a message."""
        body = struct.pack(">H", link) + _destination(destination)
        return self._seal(CLICK, message, issued_at, body)

    def unsubscribe(self, message, list_number, issued_at=None):
        """The token that unsubscribes the recipient from a list (0 to 65535)."""
        return self._seal(UNSUBSCRIBE, message, issued_at, struct.pack(">H", list_number))

    def open_url(self, base, message):
        """The URL of the message's open pixel."""
        return "{}/o/{}.gif".format(base, self.open(message))

    def click_url(self, base, message, link, destination):
        """The URL of a link."""
        return "{}/c/{}".format(base, self.click(message, link, destination))

    def unsubscribe_url(self, base, message, list_number):
        """The URL for List-Unsubscribe, used with `List-Unsubscribe-Post: List-Unsubscribe=One-Click`."""
        return "{}/u/{}".format(base, self.unsubscribe(message, list_number))

    def _seal(self, kind, message, issued_at, body):
        message = message if isinstance(message, uuid.UUID) else uuid.UUID(message)
        issued_at = int(time.time()) if issued_at is None else issued_at
        signed = struct.pack(">BBI", kind, self._key_id, issued_at) + message.bytes + body
        tag = hmac.new(self._key, signed, hashlib.sha256).digest()[:_TAG]
        return base64.urlsafe_b64encode(signed + tag).rstrip(b"=").decode("ascii")


def _hkdf_sha256(secret, info):
    """HKDF-SHA256 (RFC 5869) with an empty salt, 32 bytes long: one block."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def _destination(url):
    """Rejects most of what the edge would not redirect to. Whitespace around the URL is removed, as
    browsers do."""
    url = url.strip(" \t\n\r\f")
    encoded = url.encode("utf-8")
    if not 1 <= len(encoded) <= _MAX_DESTINATION:
        raise ValueError("a destination must have 1 to 4096 bytes")
    if re.search("[\x00-\x1f\x7f-\x9f]", url):
        raise ValueError("a destination must not contain control characters; percent-encode them")
    match = re.match(r"https?://([^/?#]*)", url, re.IGNORECASE)
    if not match or not match.group(1):
        raise ValueError("a destination must start with https:// or http:// and a host")
    if "@" in match.group(1) or "\\" in match.group(1):
        raise ValueError("a destination must not contain a user name or password")
    return encoded
