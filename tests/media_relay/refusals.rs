//! Requests that are refused: by a status, and a line that says what to do.

use wsstream::WebSocketStream;

use crate::{
    program::{Relay, report},
    running::{assert_error, command},
};

/// Far longer than anything here takes.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// The status and the reason for which this request is refused.
async fn refusal(relay: &Relay, path: &str, protocols: &[&str]) -> (u16, String) {
    let error = WebSocketStream::connect(relay.url(path)).protocols(protocols.iter().copied()).await.unwrap_err();
    let response = error.response().expect("it is answered");
    (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
}

// Connections live on while the test waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_has_one_publisher() {
    let mut relay = Relay::start(&[]);
    let (publisher, stdin) = relay.publish_pipe("live/cam");
    let (status, reason) = refusal(&relay, "live/cam", &["publish.media.v1"]).await;
    assert_eq!(
        (status, &*reason),
        (409, "channel live/cam has a publisher already; end that one, or choose another name")
    );
    assert_error(
        relay.publish_bytes("live/cam", b"mine"),
        "the relay refused: channel live/cam has a publisher already",
    );
    assert_eq!(relay.wait_for("refused")["request"], "/live/cam");
    report(&relay.publish_bytes("live/cam2", b"another"));
    drop(stdin);
    report(&publisher.output());
    report(&relay.publish_bytes("live/cam", b"the next"));
}

// Connections live on while the test waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_told_what_to_do() {
    let relay = Relay::start(&["--max-budget", "4MiB"]);
    for (path, status, remedy) in [
        ("", 400, "no channel is named; use a URL like"),
        ("a//b", 400, "this is no name of a channel; use at most 100 letters"),
        ("a/", 400, "this is no name of a channel; "),
        ("a%00b", 400, "this is no name of a channel; "),
        ("a%1b[31m", 400, "this is no name of a channel; "),
        (&"x".repeat(101), 400, "at most 100 letters"),
        (
            "a?lag=never",
            400,
            "unknown lag \"never\"; use one of skip-to-key, drop-oldest, drop-newest, disconnect, wait",
        ),
        ("a?start=then", 400, "unknown start \"then\"; use one of key, now"),
        ("a?budget=5MiB", 400, "budget=5MiB is more than this relay allows; use at most 4194304 bytes"),
        ("a?budget=0", 400, "\"0\" is no budget; use bytes, 64KiB or 1MiB"),
        ("a?budget=-1", 400, "\"-1\" is no budget; "),
        ("a?budget=1MiB&budget=2MiB", 400, "budget is there twice; give it once"),
        ("a?label=%0a", 400, "this is no label; "),
        ("a?quality=high", 400, "unknown parameter \"quality\"; use lag, budget, start or label"),
        ("a?lag=wait", 403, "use lag=skip-to-key, or start the relay with --allow-wait"),
    ] {
        let (got, reason) = refusal(&relay, path, &["view.media.v1"]).await;
        assert!(got == status && reason.contains(remedy), "{path}: {got} {reason}");
        assert_eq!(reason.matches("; ").count(), 1, "{reason}: what is wrong; what to do");
    }
    let (status, reason) = refusal(&relay, "a", &["chat"]).await;
    assert_eq!((status, &*reason), (400, "none of the subprotocols is known; offer publish.media.v1 or view.media.v1"));
    let view = command("media_relay", ["view", &relay.url("a"), "--lag", "wait"]);
    assert_error({ view }.output().unwrap(), "start the relay with --allow-wait");
}

// Connections live on while the test waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn channels_and_connections_are_bounded() {
    let mut relay = Relay::start(&["--max-channels", "1", "--max-connections", "2"]);
    let viewers = [WebSocketStream::connect(relay.url("a")).await.unwrap()];
    relay.wait_for("joined");
    let (status, reason) = refusal(&relay, "b", &[]).await;
    assert!(status == 503 && reason.ends_with("raise --max-channels"), "{reason}");
    let second = WebSocketStream::connect(relay.url("a")).await.unwrap();
    relay.wait_for("joined");
    let (status, reason) = refusal(&relay, "a", &[]).await;
    assert!(status == 503 && reason.ends_with("raise --max-connections"), "{reason}");
    // A channel is gone when nobody uses it.
    drop((viewers, second));
    relay.wait_for("left");
    relay.wait_for("left");
    let room = async {
        while WebSocketStream::connect(relay.url("b")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, room).await.expect("there is room again");
}

#[test]
fn what_cannot_be_is_said() {
    let run = |args: &[&str]| command("media_relay", args).output().unwrap();
    let nowhere = "ws://127.0.0.1:1/x";
    assert_error(run(&["publish", nowhere, "--camera"]), "check the URL and whether the relay runs");
    assert_error(run(&["publish", nowhere, "/missing/file"]), "check the name");
    assert_error(run(&["view", nowhere]), "check the URL and whether the relay runs");
    assert_error(run(&["view", "nonsense"]), "use one like ws://host:port/CHANNEL");
    assert_error(run(&["view", nowhere, "--out", "/missing/file"]), "check the name");
    assert_error(run(&["demo", "--viewers", "2", "--slow", "2"]), "no fast viewer is left; raise --viewers");
    let relay = Relay::start(&[]);
    assert_error(run(&["serve", "--listen", &relay.address]), "choose another address with --listen");
    for args in [
        &["publish", nowhere, "--camera", "--fps", "0"][..],
        &["publish", nowhere, "--camera", "--bitrate", "fast"],
        &["publish", nowhere, "file", "--camera"],
        &["publish", nowhere, "--frames", "3"],
    ] {
        assert_eq!(run(args).status.code(), Some(2), "{args:?}");
    }
}
