//! How a certificate is obtained from an ACME CA (RFC 8555).
