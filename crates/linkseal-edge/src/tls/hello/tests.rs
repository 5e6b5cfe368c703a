use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A rustls client's first flight.
fn client_hello(sni: bool, max_fragment_size: Option<usize>) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.enable_sni = sni;
    config.max_fragment_size = max_fragment_size;
    let name = ServerName::try_from("aaa.bbb.ccc.d").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn with_name(mut hello: Vec<u8>, name: &[u8; 13]) -> Vec<u8> {
    let at = hello.windows(13).position(|w| w == b"aaa.bbb.ccc.d").unwrap();
    hello[at..at + 13].copy_from_slice(name);
    hello
}

/// Reads a hello that comes in pieces, followed by the client's close.
async fn given(bytes: &[u8], piece: usize) -> Result<Hello<tokio::io::DuplexStream>, HelloError> {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let send = async {
        for piece in bytes.chunks(piece) {
            // Fails once the reader has refused, which the test sees there.
            let _ = client.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
    };
    tokio::join!(read(server), send).0
}

#[tokio::test(flavor = "local")]
async fn names_missing_names_and_bad_names_are_told_apart() {
    for piece in [1, 100, 100_000] {
        for fragment in [None, Some(64)] {
            let hello = client_hello(true, fragment);
            let Ok(Hello::Named(start)) = given(&hello, piece).await else {
                panic!("{piece} {fragment:?}")
            };
            assert_eq!(start.client_hello().server_name(), Some("aaa.bbb.ccc.d"));
            let hello = client_hello(false, fragment);
            assert!(
                matches!(given(&hello, piece).await, Ok(Hello::Nameless(_))),
                "{piece} {fragment:?}"
            );
        }
    }
    let upper = with_name(client_hello(true, None), b"AAA.bbb.CCC.d");
    let Ok(Hello::Named(start)) = given(&upper, 100_000).await else {
        panic!("a name")
    };
    assert_eq!(start.client_hello().server_name(), Some("aaa.bbb.ccc.d"));
    for bad in [
        b"127.100.200.1",
        b"2001:db8::7:1",
        b"aaa bbb!ccc d",
        b"aaa..bb.ccc.d",
        b"\xff\xfe\0..........",
        b"aaa.bbb.ccc.-",
    ] {
        let hello = with_name(client_hello(true, None), bad);
        assert!(
            matches!(given(&hello, 100_000).await, Ok(Hello::BadName(_))),
            "{}",
            bad.escape_ascii()
        );
    }
}

#[tokio::test(flavor = "local")]
async fn bad_hellos_get_an_alert_and_an_early_close_is_not_our_error() {
    let hello = client_hello(true, None);
    for cut in [3, 5, 40, hello.len() - 1] {
        assert!(
            matches!(given(&hello[..cut], 100).await, Err(HelloError::Gone)),
            "{cut}"
        );
    }
    assert!(matches!(given(b"", 100).await, Err(HelloError::Silent)));

    // A handshake message of 60 KiB, announced and begun.
    let mut long = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xf0, 0];
    long.resize(5 + 0x4000, 0);
    long.extend_from_slice(&long.clone());
    assert!(matches!(given(&long, 5000).await, Err(HelloError::Invalid(_))));
}

/// Sends bytes to the reader and returns everything it answers.
async fn told(bytes: &[u8]) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(128 * 1024);
    let talk = async {
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (got, answer) = tokio::join!(read(server), talk);
    assert!(matches!(got, Err(HelloError::Invalid(_))), "{}", answer.escape_ascii());
    answer
}

#[tokio::test(flavor = "local")]
async fn what_is_wrong_with_the_first_message_is_told_by_an_alert() {
    use AlertDescription::{DecodeError, ProtocolVersion, RecordOverflow, UnexpectedMessage};
    let record = |kind: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3][..], &length, payload].concat()
    };
    let mut all = vec![
        (record(0x14, &[1]), UnexpectedMessage),
        (record(0x17, b"data"), UnexpectedMessage),
        (record(0x18, &[1, 0]), UnexpectedMessage),
        (record(0x63, &[0]), UnexpectedMessage),
        ([&[0x16, 3, 3, 0xff, 0xff][..], &[0; 600]].concat(), RecordOverflow),
        (record(0x16, &[1, 0xff, 0xff, 0xff, 3, 3]), DecodeError),
        ([&[0x16, 9, 9, 0, 4][..], &[1, 0, 0, 0]].concat(), ProtocolVersion),
    ];
    // Handshake messages other than a ClientHello.
    all.extend(
        (0..=255)
            .filter(|kind| *kind != 1)
            .map(|kind| (record(0x16, &[kind, 0, 0, 0]), UnexpectedMessage)),
    );
    for (sent, alert) in all {
        let answer = told(&sent).await;
        assert_eq!(
            answer[..3],
            [0x15, 3, 3],
            "{}",
            sent[..9.min(sent.len())].escape_ascii()
        );
        let got = (answer.len(), answer[5]);
        assert_eq!(got, (7, 2), "one fatal alert: {}", answer.escape_ascii());
        // rustls chooses the alert for what it can parse: decode_error for truncated messages.
        assert!(
            [u8::from(alert), u8::from(DecodeError)].contains(&answer[6]),
            "{}: {}",
            sent[..9.min(sent.len())].escape_ascii(),
            answer[6]
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_hello_that_is_too_long_is_told_so() {
    for length in [20_000usize, 64_000] {
        let mut message = vec![1, 0];
        message.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        message.resize(4 + length, 0);
        let mut records = Vec::new();
        for part in message.chunks(0x4000) {
            records.extend_from_slice(&[0x16, 3, 1]);
            records.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
            records.extend_from_slice(part);
        }
        let answer = told(&records).await;
        assert_eq!(answer, alert::fatal(AlertDescription::DecodeError), "{length}");
    }
}

#[tokio::test(flavor = "local")]
async fn plain_http_is_told_in_plain_http() {
    for sent in [
        &b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
        b"POST /u/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
        b"OPTIO",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = String::from_utf8(told(sent).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{answer}"
        );
        assert!(body.contains("https://"), "{answer}");
    }
    assert_eq!(told(b"PROXY TCP4 192.0.2.7").await[..3], [0x15, 3, 3]);
}

#[test]
fn looking_for_the_name_never_panics() {
    let hello = client_hello(true, None);
    assert!(has_server_name(&hello));
    assert!(!has_server_name(&client_hello(false, None)));
    for cut in 0..hello.len() {
        has_server_name(&hello[..cut]);
    }
    for i in 0..hello.len() {
        let mut bad = hello.clone();
        bad[i] = 0xff;
        has_server_name(&bad);
    }
}
