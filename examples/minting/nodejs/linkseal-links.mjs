// Mints linkseal tracking links (format v1). Node.js 16 or newer, nothing to install.
//
//   const minter = new Minter(1, keyHex, "links.customer.example");
//   const message = randomUUID();                    // never anything that identifies the recipient
//   const base = "https://links.customer.example";   // plus links.prefix, if the edge has one
//   minter.openUrl(base, message);
//   minter.clickUrl(base, message, 0, "https://example.com/");
//   minter.unsubscribeUrl(base, message, 1);
//
// The key is the last of the edge's `links.keys`: the first argument is its id, `keyHex` the content of its
// file. The tenant is the domain's: its own name, unless it was registered with another. For a tenant
// without a domain of its own, the base ends in /t/{tenant}.

import { createHmac, hkdfSync } from "node:crypto";

const OPEN = 0x11;
const CLICK = 0x12;
const UNSUBSCRIBE = 0x13;
const TAG = 16;
const MAX_DESTINATION = 4096;

/** Mints the links of one tenant under one key. */
export class Minter {
  #keyId;
  #key;

  constructor(keyId, keyHex, tenant) {
    if (!Number.isInteger(keyId) || keyId < 0 || keyId > 255) {
      throw new RangeError("a key id must be 0 to 255");
    }
    if (!/^[0-9a-f]{64}$/i.test(keyHex.trim())) {
      throw new RangeError("a link key must be 64 hexadecimal digits (32 bytes)");
    }
    const secret = Buffer.from(keyHex.trim(), "hex");
    this.#keyId = keyId;
    this.#key = Buffer.from(hkdfSync("sha256", secret, Buffer.alloc(0), "linkseal/v1/" + tenant, 32));
  }

  /** The token of the message's open pixel. `issuedAt` is in Unix seconds and defaults to now. */
  open(message, issuedAt) {
    return this.#seal(OPEN, message, issuedAt, Buffer.alloc(0));
  }

  /** The token of a link; `link` (0 to 65535) distinguishes the links of a message. */
  click(message, link, destination, issuedAt) {
    return this.#seal(CLICK, message, issuedAt, Buffer.concat([number(link), checked(destination)]));
  }

  /** The token that unsubscribes the recipient from a list (0 to 65535). */
  unsubscribe(message, list, issuedAt) {
    return this.#seal(UNSUBSCRIBE, message, issuedAt, number(list));
  }

  /** The URL of the message's open pixel. */
  openUrl(base, message) {
    return `${base}/o/${this.open(message)}.gif`;
  }

  /** The URL of a link. */
  clickUrl(base, message, link, destination) {
    return `${base}/c/${this.click(message, link, destination)}`;
  }

  /** The URL for List-Unsubscribe, used with `List-Unsubscribe-Post: List-Unsubscribe=One-Click`. */
  unsubscribeUrl(base, message, list) {
    return `${base}/u/${this.unsubscribe(message, list)}`;
  }

  #seal(kind, message, issuedAt = Math.floor(Date.now() / 1000), body) {
    const id = Buffer.from(message.replaceAll("-", ""), "hex");
    if (id.length !== 16) {
      throw new RangeError("a message id must be a UUID");
    }
    const head = Buffer.alloc(6);
    head.writeUInt8(kind, 0);
    head.writeUInt8(this.#keyId, 1);
    head.writeUInt32BE(issuedAt, 2);
    const signed = Buffer.concat([head, id, body]);
    const tag = createHmac("sha256", this.#key).update(signed).digest().subarray(0, TAG);
    return Buffer.concat([signed, tag]).toString("base64url");
  }
}

function number(n) {
  const out = Buffer.alloc(2);
  out.writeUInt16BE(n);
  return out;
}

/**
 * Rejects most of what the edge would not redirect to. Whitespace around the URL is removed, as browsers
 * do.
 */
function checked(text) {
  const url = text.replace(/^[ \t\n\r\f]+|[ \t\n\r\f]+$/g, "");
  const encoded = Buffer.from(url, "utf8");
  if (encoded.length < 1 || encoded.length > MAX_DESTINATION) {
    throw new RangeError("a destination must have 1 to 4096 bytes");
  }
  if (/[\x00-\x1f\x7f-\x9f]/.test(url)) {
    throw new RangeError("a destination must not contain control characters; percent-encode them");
  }
  const match = /^https?:\/\/([^/?#]+)/i.exec(url);
  if (!match) {
    throw new RangeError("a destination must start with https:// or http:// and a host");
  }
  if (/[@\\]/.test(match[1])) {
    throw new RangeError("a destination must not contain a user name or password");
  }
  return encoded;
}
