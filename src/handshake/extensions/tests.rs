use proptest::prelude::*;

use super::*;
use crate::role::Role;

fn fields(lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(line).unwrap())).collect()
}

fn on() -> Compression {
    Compression::default()
}

/// What a server answers.
fn answer(compression: Compression, lines: &[&str]) -> String {
    choose(&fields(lines), Some(&compression)).map(|agreed| agreed.to_string()).unwrap_or_default()
}

#[test]
fn the_default_offer_is_that_of_browsers() {
    assert_eq!(offer(Some(&on())).unwrap(), "permessage-deflate; client_max_window_bits");
    assert_eq!(offer(None), None);
}

#[test]
fn an_offer_says_what_is_wanted() {
    let all = on().send_takeover(false).receive_takeover(false).send_window_bits(11).receive_window_bits(8);
    assert_eq!(
        offer(Some(&all)).unwrap(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8; \
         client_max_window_bits=11"
    );
}

#[test]
fn a_server_answers_what_it_is_asked_for() {
    for (offer, agreed) in [
        ("permessage-deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=15", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=9", "permessage-deflate; client_max_window_bits=9"),
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"),
        ("permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=\"9\"", "permessage-deflate; server_max_window_bits=9"),
        ("permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        // zlib cannot.
        ("permessage-deflate; server_max_window_bits=8", ""),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate"),
    ] {
        assert_eq!(answer(on(), &[offer]), agreed, "{offer}");
        assert_eq!(choose(&fields(&[offer]), None), None);
    }
}

#[test]
fn a_server_says_what_it_wants() {
    let bits = on().send_window_bits(10).receive_window_bits(11);
    for (offer, agreed) in [
        ("permessage-deflate", ""),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=11"),
        ("permessage-deflate; client_max_window_bits=9", "permessage-deflate; client_max_window_bits=9"),
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11",
        ),
        (
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11",
        ),
    ] {
        assert_eq!(answer(bits, &[offer]), agreed, "{offer}");
    }
    let forgetful = on().send_takeover(false).receive_takeover(false);
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer(forgetful, &["permessage-deflate"]), agreed);
}

#[test]
fn a_server_takes_the_first_offer_that_it_can_honour() {
    for wrong in [
        "permessage-deflate; unknown",
        "permessage-deflate; Server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=\"true\"",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=-9",
        "permessage-deflate; server_max_window_bits=9.0",
        "permessage-deflate; client_max_window_bits=999999999999999999999",
        "x-webkit-deflate-frame",
        "Permessage-Deflate",
    ] {
        assert_eq!(answer(on(), &[wrong]), "", "{wrong}");
        let good = "permessage-deflate; client_no_context_takeover";
        assert_eq!(answer(on(), &[wrong, good, "permessage-deflate"]), good, "{wrong}");
        assert_eq!(answer(on(), &[&format!("{wrong}, {good}, permessage-deflate")]), good, "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_is_not_taken() {
    for wrong in ["permessage-deflate;", "permessage-deflate, ;", "permessage-deflate; a=\""] {
        assert_eq!(check(&fields(&[wrong])), Err(Malformed), "{wrong}");
        assert_eq!(check(&fields(&["permessage-deflate", wrong])), Err(Malformed), "{wrong}");
        assert_eq!(answer(on(), &[wrong]), "");
        assert!(accepted(&fields(&[wrong]), Some(&on())).unwrap_err().contains("malformed"), "{wrong}");
    }
    assert_eq!(check(&fields(&["foo; bar=\"baz\"", "permessage-deflate; unknown"])), Ok(()));
}

#[test]
fn a_client_takes_answers_to_its_offer() {
    for good in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=15",
    ] {
        let agreed = accepted(&fields(&[good]), Some(&on())).unwrap().unwrap();
        assert_eq!(agreed.to_string(), good);
    }
    assert_eq!(accepted(&fields(&[]), Some(&on())), Ok(None));
    assert_eq!(accepted(&fields(&[""]), None), Ok(None));
}

#[test]
fn a_client_takes_no_answer_that_it_did_not_invite() {
    let small = on().receive_takeover(false).receive_window_bits(10).send_window_bits(10);
    for (answer, offered, words) in [
        ("permessage-deflate", None, "not offered"),
        ("foo", Some(on()), "not offered"),
        ("permessage-deflate, foo", Some(on()), "not offered"),
        ("permessage-deflate, permessage-deflate", Some(on()), "twice"),
        ("permessage-deflate; foo", Some(on()), "no parameter"),
        ("permessage-deflate; client_max_window_bits", Some(on()), "takes a number"),
        ("permessage-deflate; client_max_window_bits=7", Some(on()), "8 to 15"),
        ("permessage-deflate; server_max_window_bits", Some(on()), "8 to 15"),
        ("permessage-deflate; server_no_context_takeover=1", Some(on()), "takes no value"),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", Some(on()), "given twice"),
        ("permessage-deflate; server_max_window_bits=10", Some(small), "server_no_context_takeover is missing"),
        ("permessage-deflate; server_no_context_takeover", Some(small), "15, more than the 10"),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=11", Some(small), "more than the 10"),
        (
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=11",
            Some(small),
            "more than the 10",
        ),
    ] {
        let why = accepted(&fields(&[answer]), offered.as_ref()).unwrap_err();
        assert!(why.contains(words), "{answer}: {why}");
    }
}

#[test]
fn a_head_full_of_offers_is_read_in_one_go() {
    let many = "permessage-deflate; unknown,".repeat(1000);
    assert_eq!(answer(on(), &[&many, "permessage-deflate"]), "permessage-deflate");
    let parameters = format!("permessage-deflate{}", "; client_max_window_bits".repeat(1000));
    assert_eq!(answer(on(), &[&parameters]), "");
}

fn compression() -> impl Strategy<Value = Compression> {
    (9u8..=15, 8u8..=15, any::<bool>(), any::<bool>()).prop_map(|(send, receive, sends, receives)| {
        on().send_window_bits(send).receive_window_bits(receive).send_takeover(sends).receive_takeover(receives)
    })
}

proptest! {
    #[test]
    fn two_ends_of_this_library_understand_each_other(client in compression(), server in compression()) {
        let offered = offer(Some(&client)).unwrap();
        let agreed = choose(&fields(&[offered.to_str().unwrap()]), Some(&server));
        // Only a window of 8 bits can keep them from it.
        prop_assert_eq!(agreed.is_none(), client.receive_window_bits == 8);
        let Some(agreed) = agreed else { return Ok(()) };
        prop_assert_eq!(accepted(&fields(&[&agreed.to_string()]), Some(&client)), Ok(Some(agreed)));
        let negotiated = Negotiated::default().with_extensions(&agreed.to_string()).unwrap();
        prop_assert_eq!(negotiated.deflate, Some(agreed));

        let (ours, theirs) = (client.codec(Role::Client, &agreed), server.codec(Role::Server, &agreed));
        for (from, to) in [(ours, theirs), (theirs, ours)] {
            prop_assert!(to.receive_takeover || !from.send_takeover, "what is referred to is remembered");
        }
        prop_assert!(ours.window_bits <= client.send_window_bits.min(server.receive_window_bits));
        prop_assert!(theirs.window_bits <= server.send_window_bits.min(client.receive_window_bits));
    }
}
