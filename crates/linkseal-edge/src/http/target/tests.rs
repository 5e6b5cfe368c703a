use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

/// The output of a stream that is read in pieces of these sizes.
fn read(stream: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut follower = Follower::default();
    let (mut out, mut rest) = (Vec::new(), stream);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, after) = rest.split_at((*size).clamp(1, rest.len()));
        out.extend(follower.follow(now).unwrap_or_else(|| now.to_vec()));
        rest = after;
    }
    out
}

fn text(stream: &str) -> String {
    let whole = read(stream.as_bytes(), &[usize::MAX]);
    for size in 1..12 {
        assert_eq!(read(stream.as_bytes(), &[size]), whole, "{size}");
    }
    String::from_utf8(whole).unwrap()
}

#[test]
fn targets_are_encoded_and_nothing_else() {
    let second = "GET /b?\"<é> HTTP/1.1\r\nHost: \"<é>\r\n\r\n";
    let encoded = "GET /b?%22%3C%C3%A9%3E HTTP/1.1\r\nHost: \"<é>\r\n\r\n";
    for before in [
        "",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: <a>\r\n\r\n",
        "GET / HTTP/1.1\nHost: <a>\n\n",
        "HEAD /%22 HTTP/1.0\r\nContent-Length: 0\r\nCookie: \"x\"\r\n\r\n",
        "POST /u/x HTTP/1.1\r\nContent-Length: 21\r\n\r\nGET /\"x\" HTTP/1.1\r\n\r\n",
        "POST /u/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"<\"\r\n\"<>\r\n\r\nA\r\nGET /\"<> H\r\n0\r\nX: \"<\"\r\n\r\n",
    ] {
        assert_eq!(
            text(&format!("{before}{second}{second}")),
            format!("{before}{encoded}{encoded}")
        );
    }
    assert_eq!(
        text("GET /|^`\\{}?|^`\\{}?\" HTTP/1.1\r\n\r\n"),
        "GET /%7C%5E%60%5C{}?|^`\\{}?%22 HTTP/1.1\r\n\r\n"
    );
    // Ambiguity ends the following.
    for before in [
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nX: y\r\n Content-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "CONNECT a.example:443 HTTP/1.1\r\n\r\n",
        "GET /\r\n",
        "GET /\tx HTTP/1.1\r\n\r\n",
    ] {
        let stream = format!("{before}{second}");
        assert_eq!(text(&stream), stream);
    }
}

#[test]
fn a_length_that_was_cut_off_is_not_taken_for_a_shorter_one() {
    let pad = " ".repeat(31);
    let body = "x".repeat(10) + "G \u{e9} HTTP/1.1\r\n\r\n" + &"y".repeat(40);
    let zeros = "0".repeat(LINE - 2);
    let filler = "x".repeat(0x10);
    let request = "GET /\" HTTP/1.1\r\n\r\n";
    for stream in [
        format!("POST / HTTP/1.1\r\nContent-Length:{pad}1000\r\n\r\n{body}"),
        format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding:{}chunked\r\n\r\n{request}",
            " ".repeat(24)
        ),
        format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding:{}chunked, x\r\n\r\n0\r\n\r\n{request}",
            " ".repeat(22)
        ),
        format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{zeros}1000\r\n{filler}\r\n0\r\n\r\n{request}"),
    ] {
        for size in 1..60 {
            assert_eq!(read(stream.as_bytes(), &[size]), stream.as_bytes(), "{size}: {stream}");
        }
    }
}

#[test]
fn a_target_of_http2_is_spelled_as_over_http1() {
    for (target, expected) in [
        ("/a/%22?b=\"c|", Some("/a/%22?b=%22c|")),
        ("/\u{e9}|^\\`{}?|^", Some("/%C3%A9%7C%5E%5C%60{}?|^")),
        ("/a{}?|", None),
        ("*", None),
    ] {
        assert_eq!(encoded(target).as_deref(), expected, "{target}");
        let line = |target: &str| format!("GET {target} HTTP/1.1\r\n\r\n");
        assert_eq!(text(&line(target)), line(expected.unwrap_or(target)));
    }
    assert_eq!(encoded("/\u{7f}?\u{7f}").as_deref(), Some("/%7F?%7F"));
}

#[tokio::test(flavor = "local")]
async fn a_small_buffer_gets_it_piece_by_piece() {
    let target = "\"".repeat(1000);
    let stream = format!("GET /{target} HTTP/1.1\r\n\r\nGET /< HTTP/1.1\r\n\r\n");
    let mut encoded = Encoded::new(stream.as_bytes());
    let mut all = Vec::new();
    let mut buffer = [0; 7];
    loop {
        let read = encoded.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..read]);
    }
    let expected = format!("GET /{} HTTP/1.1\r\n\r\nGET /%3C HTTP/1.1\r\n\r\n", "%22".repeat(1000));
    assert_eq!(String::from_utf8(all).unwrap(), expected);
    assert_eq!(encoded.pending.get_ref().capacity(), 0);
}

proptest! {
    #[test]
    fn reads_of_any_size_come_to_the_same(stream in "((GET|POST|[A-Z]{1,9}) /(\\PC|[\"<>]){0,9} HTTP/1.1\r?\n((Content-Length: [0-9]|Transfer-Encoding: chunked|[A-Za-z-]{1,60}: \\PC{0,60})\r?\n){0,3}\r?\n(\\PC{0,9}|[0-3]\r\n\\PC{0,3}\r\n){0,2}){0,4}", sizes in prop::collection::vec(1usize..40, 1..9)) {
        prop_assert_eq!(read(stream.as_bytes(), &sizes), read(stream.as_bytes(), &[usize::MAX]));
    }

    #[test]
    fn bodies_pass_as_they_are(
        body in prop::collection::vec(any::<u8>(), 0..99),
        pad in 0usize..60,
        sizes in prop::collection::vec(1usize..40, 1..9),
        chunks: bool,
    ) {
        let (how, framed) = if chunks && !body.is_empty() {
            let mut framed = format!("{:0pad$x}\r\n", body.len()).into_bytes();
            framed.extend_from_slice(&body);
            framed.extend_from_slice(b"\r\n0\r\n\r\n");
            ("Transfer-Encoding: chunked".to_owned(), framed)
        } else {
            (format!("Content-Length:{:>pad$}", body.len()), body)
        };
        let stream = |first: &str, second: &str| {
            let mut all = format!("POST /{first} HTTP/1.1\r\n{how}\r\n\r\n").into_bytes();
            all.extend_from_slice(&framed);
            all.extend_from_slice(format!("GET /{second} HTTP/1.1\r\n\r\n").as_bytes());
            all
        };
        let out = read(&stream("\"", "\""), &sizes);
        // A length that is not kept as a whole ends the following.
        let followed = out == stream("%22", "%22");
        prop_assert!(followed || pad > 20 && out == stream("%22", "\""), "{:?}", String::from_utf8_lossy(&out));
    }
}
