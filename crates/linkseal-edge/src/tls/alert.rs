//! Alerts that the edge sends itself (RFC 8446 §6), where rustls has no session to send them in.

use std::time::Duration;

use rustls::{AlertDescription, Error, InvalidMessage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Fatal `unrecognized_name`: the name is not served here. rustls has no way to send it.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];
/// Fatal `internal_error`: there is no certificate at present.
pub const INTERNAL_ERROR: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50];

/// How long a client may take to read the alert and close.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes read from it meanwhile: the rest of a ClientHello that is too long.
const DRAIN: u64 = 64 * 1024;

/// A fatal alert.
pub(super) fn fatal(description: AlertDescription) -> [u8; 7] {
    let [kind, major, minor, high, low, level, _] = INTERNAL_ERROR;
    [kind, major, minor, high, low, level, description.into()]
}

/// The alert that RFC 8446 (§4, §5, §5.1, §6.2) requires where rustls returns an error and queues none, as
/// it does for errors before the ClientHello is complete.
pub(super) fn owed(error: &Error) -> AlertDescription {
    match error {
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::InvalidCcs) => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(InvalidMessage::UnexpectedMessage(_) | InvalidMessage::InvalidEmptyPayload) => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(InvalidMessage::MessageTooLarge) | Error::PeerSentOversizedRecord => {
            AlertDescription::RecordOverflow
        }
        Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion) | Error::PeerIncompatible(_) => {
            AlertDescription::ProtocolVersion
        }
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        _ => AlertDescription::DecodeError,
    }
}

/// Sends an alert and closes gracefully.
///
/// Closing a socket with unread bytes resets the connection (RFC 1122 §4.2.2.13), and the client would
/// lose the alert. So what it still sends is read, within [`LINGER`] and [`DRAIN`].
pub async fn send_and_close<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, alert: &[u8]) {
    let farewell = async {
        io.write_all(alert).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(DRAIN), &mut tokio::io::sink()).await
    };
    // Delivery is best effort: the connection is closed either way.
    let _ = timeout(LINGER, farewell).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "local")]
    async fn the_bytes_are_those_of_the_rfc() {
        assert_eq!(UNRECOGNIZED_NAME[6], u8::from(AlertDescription::UnrecognisedName));
        assert_eq!(fatal(AlertDescription::UnrecognisedName), UNRECOGNIZED_NAME);
        assert_eq!(INTERNAL_ERROR[6], u8::from(AlertDescription::InternalError));
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"still sending").await.unwrap();
        let take = async {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            drop(client);
            got
        };
        let (got, ()) = tokio::join!(take, send_and_close(server, &UNRECOGNIZED_NAME));
        assert_eq!(got, UNRECOGNIZED_NAME);
    }
}
