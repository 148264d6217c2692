//! What a connection says to a subscriber: its beginning and its end in a span, and nothing for each message.

mod support;

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use support::{TEXT, next, within};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::Attributes,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
};
use wsstream::{CloseCode, Config, Negotiated, Role, WebSocketStream};

/// Level, and all fields as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_new_span(&self, span: &Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
        let mut text = Text(format!("span {} ", span.metadata().name()));
        span.record(&mut text);
        self.0.lock().unwrap().push((*span.metadata().level(), text.0));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("wsstream") {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().unwrap().push((*event.metadata().level(), text.0));
        }
    }
}

#[tokio::test]
async fn a_connection_is_a_span_with_its_beginning_and_end_and_messages_are_silent() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(log.clone()));
    let (near, far) = tokio::io::duplex(4096);
    let negotiated = Negotiated::default().with_url("/live?token=secret");
    let mut ws = WebSocketStream::from_upgraded(near, "", Role::Server, negotiated, Config::default());
    let mut peer = support::Raw::new(far, Role::Client);
    for _ in 0..100 {
        peer.send(TEXT, b"hello").await;
        within(next(&mut ws)).await.unwrap().unwrap();
        within(ws.send("hello")).await.unwrap();
        peer.message().await;
    }
    let close = async {
        peer.expect_close().await;
        peer.send_close(4000, "enough").await;
    };
    within(async { tokio::join!(ws.close(CloseCode::NORMAL, ""), close) }).await.0.unwrap();

    let log = log.0.lock().unwrap();
    let text: Vec<&str> = log.iter().map(|(_, text)| text.trim()).collect();
    assert_eq!(text[0], "span connection role=Server url=\"/live\"", "without the query, which may be secret");
    assert_eq!(text[1], "message=open");
    assert_eq!(text[2], "message=closed close_code=4000 reason=\"enough\"");
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(log.iter().all(|(level, _)| *level == Level::DEBUG));
}
