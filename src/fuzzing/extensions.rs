//! Offers and answers of extensions.

use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

use super::input::Input;
use crate::{
    compression::{Compression, DeflateParams},
    handshake::extensions::{accepted, check, choose, offer},
    negotiated::Negotiated,
    role::Role,
};

/// Two bytes of settings for each end, and header fields, one a line, which are taken for an offer and for an answer.
///
/// What a server agrees to is within its settings and what it was asked for, and an answer that a client takes within the
/// client's. Both ends do what is agreed on. Neither the order of a list in fields, nor space in it, makes a difference. The
/// offer of this library is one that it agrees to.
pub fn extensions(data: &[u8]) {
    let mut input = Input(data);
    let (client, server) = (compression(&mut input), compression(&mut input));
    let fields: Vec<&[u8]> = input.0.split(|&byte| byte == b'\n').collect();
    let Some(headers) = headers(&fields) else { return };

    let agreed = choose(&headers, Some(&server));
    let readable = check(&headers).is_ok();
    assert!(readable || agreed.is_none());
    if let Some(agreed) = &agreed {
        check_server(agreed, &server);
        let negotiated = Negotiated::default().with_extensions(&agreed.to_string()).expect("an answer can be read");
        assert_eq!(negotiated.deflate.as_ref(), Some(agreed));
    }
    let joined = fields.join(&b", "[..]);
    let joined = self::headers(&[&joined]).expect("it was a header in parts");
    if readable {
        assert!(check(&joined).is_ok());
        assert_eq!(choose(&joined, Some(&server)), agreed, "in one field and in several");
    }

    if let Ok(Some(agreed)) = accepted(&headers, Some(&client)) {
        assert!(readable);
        check_client(&agreed, &client);
        let again = self::headers(&[agreed.to_string().as_bytes()]).expect("a header");
        assert_eq!(accepted(&again, Some(&client)), Ok(Some(agreed)));
    }
    assert!(!matches!(accepted(&headers, None), Ok(Some(_))), "nothing was offered");

    let offered = offer(Some(&client)).expect("an offer is a header");
    let offered = self::headers(&[offered.as_bytes()]).expect("a header");
    let agreed = choose(&offered, Some(&server));
    assert_eq!(agreed.is_none(), client.receive_window_bits == 8, "zlib does all windows but that of 8 bits");
    if let Some(agreed) = agreed {
        check_server(&agreed, &server);
        check_client(&agreed, &client);
        let (ours, theirs) = (client.codec(Role::Client, &agreed), server.codec(Role::Server, &agreed));
        assert!(theirs.receive_takeover || !ours.send_takeover);
        assert!(ours.receive_takeover || !theirs.send_takeover);
    }
}

fn compression(input: &mut Input<'_>) -> Compression {
    let (bits, flags) = (input.byte(), input.byte());
    Compression::default()
        .send_window_bits(bits >> 4)
        .receive_window_bits(bits & 0x0F)
        .send_takeover(flags & 1 == 0)
        .receive_takeover(flags & 2 == 0)
}

fn headers(fields: &[&[u8]]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_bytes(field).ok()?);
    }
    Some(headers)
}

fn check_server(agreed: &DeflateParams, server: &Compression) {
    assert!(agreed.server.max_window_bits.is_none_or(|bits| (9..=server.send_window_bits).contains(&bits)));
    assert!((8..=server.receive_window_bits).contains(&agreed.client.max_window_bits.unwrap_or(15)));
    assert!(server.receive_takeover || agreed.client.no_context_takeover);
    let codec = server.codec(Role::Server, agreed);
    assert!(codec.compress_from.is_some() && codec.window_bits <= server.send_window_bits);
    assert!(codec.send_takeover <= server.send_takeover);
}

fn check_client(agreed: &DeflateParams, client: &Compression) {
    assert!((8..=client.receive_window_bits).contains(&agreed.server.max_window_bits.unwrap_or(15)));
    assert!(agreed.client.max_window_bits.is_none_or(|bits| (8..=client.send_window_bits).contains(&bits)));
    assert!(client.receive_takeover || agreed.server.no_context_takeover);
    let codec = client.codec(Role::Client, agreed);
    assert!(codec.window_bits <= client.send_window_bits && codec.send_takeover <= client.send_takeover);
    assert_eq!(codec.compress_from.is_none(), agreed.client.max_window_bits == Some(8));
}
