//! What one end says when it closes, the other end hears.

use std::time::Duration;

use wsstream::{CloseCode, Config};

use crate::{site::Site, support::within};

pub(crate) async fn both_ways(mut site: Site) {
    let code = CloseCode::try_from(4321).unwrap();
    let (mut client, server) = site.open(Config::default(), Config::default()).await;
    let echo = within(client.close(code, "the client has what it wants")).await.unwrap();
    let told = within(server.closed()).await.unwrap();
    for info in [echo, told] {
        assert_eq!((info.close_code, info.reason.as_str()), (code, "the client has what it wants"));
        assert!(info.was_clean);
    }

    let (client, mut server) = site.open(Config::default(), Config::default()).await;
    let echo = within(server.close(code, "the server ends it: 再见")).await.unwrap();
    let told = within(client.closed()).await.unwrap();
    for info in [echo, told] {
        assert_eq!((info.close_code, info.reason.as_str()), (code, "the server ends it: 再见"));
        assert!(info.was_clean);
    }

    // A shutdown gets through.
    let (client, _server) = site.open(Config::default(), Config::default()).await;
    let report = within(site.listener.shutdown(Duration::from_secs(60))).await;
    assert_eq!((report.clean, report.aborted), (1, 0));
    assert_eq!(within(client.closed()).await.unwrap().close_code, CloseCode::GOING_AWAY);
}
