//! Requests that are refused.

use crate::{
    application::Server,
    raw::{KEY, ask, request},
};

pub(crate) async fn requests_that_are_no_handshake(server: Server) {
    let good = request("/echo", "");
    let with = |line: &str| request("/echo", &format!("{line}\r\n"));
    for (request, status, why) in [
        (good.replacen("GET", "POST", 1), 405, "GET"),
        (good.replacen("GET", "HEAD", 1).replacen("HEAD", "DELETE", 1), 405, "GET"),
        (good.replacen("HTTP/1.1", "HTTP/1.0", 1), 505, "HTTP/1.1"),
        (good.replacen("Host: example.com\r\n", "", 1), 400, "Host"),
        (good.replacen("Upgrade: websocket\r\n", "", 1), 426, "websocket"),
        (good.replacen("Upgrade: websocket", "Upgrade: h2c", 1), 426, "websocket"),
        (good.replacen("Connection: Upgrade", "Connection: keep-alive", 1), 400, "Connection"),
        (good.replacen("Version: 13", "Version: 8", 1), 426, "13"),
        (good.replacen("Sec-WebSocket-Version: 13\r\n", "", 1), 426, "13"),
        (good.replacen(&format!("Sec-WebSocket-Key: {KEY}\r\n"), "", 1), 400, "Sec-WebSocket-Key"),
        (good.replacen(KEY, "dGhlIHNhbXBsZSBub25jZQ!!", 1), 400, "Sec-WebSocket-Key"),
        (with(&format!("Sec-WebSocket-Key: {KEY}")), 400, "Sec-WebSocket-Key"),
        (with("Content-Length: 5"), 400, "body"),
        (with("Sec-WebSocket-Protocol: a b"), 400, "Sec-WebSocket-Protocol"),
        (with("Sec-WebSocket-Extensions: ;;"), 400, "Sec-WebSocket-Extensions"),
    ] {
        let (answer, _) = ask(server.addr, request.as_bytes()).await;
        assert_eq!(answer.status(), status, "{request}: {answer:?}");
        assert!(answer.body.contains(why), "{request}: {answer:?}");
        assert_eq!(answer.header("content-type"), ["text/plain; charset=utf-8"]);
        let expected = |wanted, value: &'static str| if wanted { vec![value] } else { Vec::new() };
        assert_eq!(answer.header("allow"), expected(status == 405, "GET"));
        assert_eq!(answer.header("upgrade"), expected(status == 426, "websocket"));
        let lists_upgrade = answer.header("connection").iter().any(|it| it.to_lowercase().contains("upgrade"));
        assert_eq!(lists_upgrade, status == 426, "{answer:?}");
        let version = expected(status == 426 && why == "13", "13");
        assert_eq!(answer.header("sec-websocket-version"), version, "{request}");
    }
    assert!(server.connections.is_empty());
}

pub(crate) async fn origins(server: Server) {
    for (path, line, status) in [
        ("/echo", "", 101),
        ("/echo", "Origin: https://example.com\r\n", 101),
        ("/echo", "Origin: https://app.example\r\n", 403),
        ("/echo", "Origin: null\r\n", 403),
        ("/origins", "Origin: https://app.example\r\n", 101),
        ("/origins", "Origin: https://example.com\r\n", 101),
        ("/origins", "Origin: https://evil.example\r\n", 403),
        ("/any-origin", "Origin: https://evil.example\r\n", 101),
    ] {
        let (answer, _) = ask(server.addr, request(path, line).as_bytes()).await;
        assert_eq!(answer.status(), status, "{path} {line}: {answer:?}");
        assert_eq!(answer.body.contains("origin"), status == 403, "{answer:?}");
    }
}

pub(crate) async fn by_the_application(server: Server) {
    let (answer, _) = ask(server.addr, request("/nothing", "").as_bytes()).await;
    assert_eq!((answer.status(), answer.body.as_str()), (404, "nothing here"));
}

pub(crate) async fn mistakes_of_the_application_are_500(server: Server) {
    for path in ["/unasked", "/bad-header"] {
        let (answer, _) = ask(server.addr, request(path, "Sec-WebSocket-Protocol: a\r\n").as_bytes()).await;
        assert_eq!(answer.status(), 500, "{path}: {answer:?}");
        assert_eq!(answer.body, "The server cannot answer this request.\n", "no word of how it is made");
    }
    assert!(server.connections.is_empty());
}
