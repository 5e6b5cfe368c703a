//! Whatever a client sends, the back end gets one unambiguous request.

use super::*;

/// Must never be seen as a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: links.customer.example\r\n\r\n";

/// The result of an attempt.
#[derive(Debug, PartialEq)]
enum Fate {
    /// Passed on, with this body, as one request.
    As(&'static str),
    /// Refused with this status, and not seen by the back end.
    Refused(u16),
}

#[tokio::test(flavor = "local")]
async fn requests_are_rewritten() {
    use Fate::{As, Refused};
    let host = "Host: links.customer.example\r\n";
    for (what, bytes, fate) in [
        (
            "both lengths, chunked last",
            format!(
                "POST /x HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
            As("3\r\nabc\r\n0\r\n\r\n"),
        ),
        (
            "both lengths, chunked first, a request behind",
            format!(
                "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 70\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
            As("0\r\n\r\n"),
        ),
        (
            "two lengths that differ",
            format!("POST /x HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 70\r\n\r\nabc{HIDDEN}"),
            Refused(400),
        ),
        (
            "the same length twice",
            format!("POST /x HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"),
            As("abc"),
        ),
        (
            "a list of lengths",
            format!("POST /x HTTP/1.1\r\n{host}Content-Length: 3, 3\r\n\r\nabc"),
            Refused(400),
        ),
        (
            "a length with a sign",
            format!("POST /x HTTP/1.1\r\n{host}Content-Length: +3\r\n\r\nabc"),
            Refused(400),
        ),
        (
            "a length in hex",
            format!("POST /x HTTP/1.1\r\n{host}Content-Length: 0x3\r\n\r\nabc"),
            Refused(400),
        ),
        (
            "a space before the colon",
            format!("POST /x HTTP/1.1\r\n{host}Content-Length : 3\r\n\r\nabc"),
            Refused(400),
        ),
        (
            "a folded header",
            format!("GET /x HTTP/1.1\r\n{host}X-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n"),
            Refused(400),
        ),
        (
            "NUL in a value",
            format!("GET /x HTTP/1.1\r\n{host}X-A: a\0b\r\n\r\n"),
            Refused(400),
        ),
        (
            "a control character in a value",
            format!("GET /x HTTP/1.1\r\n{host}X-A: a\x01b\r\n\r\n"),
            Refused(400),
        ),
        (
            "a bare CR in a value",
            format!("GET /x HTTP/1.1\r\n{host}X-A: a\rX-B: b\r\n\r\n"),
            Refused(400),
        ),
        (
            "bare LF everywhere",
            "POST /x HTTP/1.1\nHost: links.customer.example\nContent-Length: 3\nConnection: close\n\nabc".into(),
            As("abc"),
        ),
        (
            "coding that is not chunked",
            format!("POST /x HTTP/1.1\r\n{host}Transfer-Encoding: identity\r\n\r\n{HIDDEN}"),
            Refused(400),
        ),
        (
            "coding before chunked",
            format!("POST /x HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            Refused(501),
        ),
        (
            "chunked twice",
            format!(
                "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
            Refused(501),
        ),
        (
            "chunked, but after a control character",
            format!("POST /x HTTP/1.1\r\n{host}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
            Refused(400),
        ),
        (
            "chunked in HTTP/1.0",
            format!("POST /x HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
            Refused(400),
        ),
        (
            "chunk sizes with zeros, spaces, extensions",
            format!("POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0003 ;a=\"b\"\r\nabc\r\n00;x\r\n\r\n"),
            As("3\r\nabc\r\n0\r\n\r\n"),
        ),
        (
            "trailers",
            format!(
                "POST /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For\r\n\r\n1\r\na\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
            ),
            As("1\r\na\r\n0\r\n\r\n"),
        ),
        (
            "a host that is another's, twice",
            format!("GET /x HTTP/1.1\r\n{host}Host: other.example\r\nConnection: close\r\n\r\n"),
            Refused(400),
        ),
        (
            "a target that names its host",
            "GET http://links.customer.example/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".into(),
            As(""),
        ),
        (
            "a body on GET",
            format!(
                "GET /x HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            ),
            As(HIDDEN),
        ),
        (
            "Connection that takes the length away",
            format!(
                "POST /x HTTP/1.1\r\n{host}Connection: close, content-length, host\r\nContent-Length: 3\r\n\r\nabc"
            ),
            As("abc"),
        ),
        (
            "h2c by Upgrade",
            format!(
                "GET /x HTTP/1.1\r\n{host}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            ),
            As(""),
        ),
        (
            "a line break in the path",
            format!("GET /x\nX: HTTP/1.1\r\n{host}\r\n"),
            Refused(400),
        ),
    ] {
        let back_end = BackEnd::start().await;
        let edge = edge(rule("/", &back_end.url()));
        let answer = raw(&edge, bytes.as_bytes()).await;
        let seen = back_end.requests();
        match fate {
            Refused(status) => {
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} "))
                        || answer.starts_with(&format!("HTTP/1.0 {status} ")),
                    "{what}: {answer}"
                );
                assert_eq!(seen, Vec::<String>::new(), "{what}");
            }
            As(body) => {
                assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
                assert_eq!(
                    answer.matches("HTTP/1.1 ").count(),
                    1,
                    "{what}: one answer, then the end: {answer}"
                );
                assert_eq!(seen.len(), 1, "{what}: {seen:?}");
                let (head, rest) = seen[0].split_once("\r\n\r\n").unwrap();
                assert_eq!(rest, body, "{what}");
                assert!(
                    head.split("\r\n").next().unwrap().ends_with(" /x HTTP/1.1"),
                    "{what}: {head}"
                );
                assert_eq!(
                    head.matches("\r\nhost: links.customer.example").count(),
                    1,
                    "{what}: {head}"
                );
                let lengths = head.matches("content-length").count() + head.matches("transfer-encoding").count();
                assert_eq!(lengths, usize::from(!body.is_empty()), "{what}: {head}");
                assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{what}: {head:?}");
                for gone in ["upgrade", "http2-settings", "trailer", "1.2.3.4", "evil.example"] {
                    assert!(!head.contains(gone), "{what}: {head}");
                }
                // A body that few back ends read must not become the next request.
                assert_eq!(
                    head.contains("connection: close"),
                    what == "a body on GET",
                    "{what}: {head}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn http2_cannot_smuggle_what_http1_reads_differently() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/", &back_end.url()));
    // Cookies in pieces become one; a body without a length becomes chunked.
    let request = Request::get("/x").header("cookie", "a=1").header("cookie", "b=2");
    edge.send(BOTH[1], CUSTOMER, request, "").await;
    assert!(back_end.requests()[0].contains("\r\ncookie: a=1; b=2\r\n"));
    let io = TokioIo::new(edge.connect(BOTH[1]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    edge.tasks.spawn(connection);
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(
        ["ab", "c"].map(|part| Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(part)))),
    ));
    let request = Request::post(format!("https://{CUSTOMER}/x")).body(body).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
    let seen = back_end.requests().pop().unwrap();
    assert!(
        seen.contains("\r\ntransfer-encoding: chunked\r\n") && !seen.contains("content-length"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n0\r\n\r\n"), "{seen}");
}

#[tokio::test(flavor = "local")]
async fn upgrades_are_not_passed_on() {
    let back_end =
        BackEnd::with(|_, _| Act::Say(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_vec()))
            .await;
    let edge = edge(rule("/", &back_end.url()));
    let ask =
        format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n");
    assert!(raw(&edge, ask.as_bytes()).await.starts_with("HTTP/1.1 501 "));
    assert_eq!(back_end.connections(), 0);
    // A back end that switches protocols unasked.
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/x").await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test(flavor = "local")]
async fn an_expectation_is_met_once_there_is_a_back_end() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/", &back_end.url()));
    let mut io = edge.connect(BOTH[0]);
    let head = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert!(io.read_buf(&mut answer).await.unwrap() > 0);
    }
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    io.write_all(b"abc").await.unwrap();
    while !answer.ends_with(b"ok") {
        assert!(io.read_buf(&mut answer).await.unwrap() > 0);
    }
    assert!(!back_end.requests()[0].contains("expect"));
    // A body that is too long is not requested.
    let head =
        format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nExpect: 100-continue\r\nContent-Length: 300000\r\n\r\n");
    assert!(raw(&edge, head.as_bytes()).await.starts_with("HTTP/1.1 413 "));
}
