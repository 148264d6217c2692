//! nginx and HAProxy in front of the server, as a plain reverse proxy and as a TLS terminator, with the configurations that
//! `docs/deploying.md` shows. Where the programs are not installed, these tests say so and do nothing, unless
//! `WSSTREAM_PEERS=required` is set.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)] // what is held now is of interest only to the attacks
#[path = "../attacks/allocator.rs"]
mod allocator;
mod closing;
mod idle;
mod peer;
mod proxy;
mod site;
mod transfers;

/// Every way to the server.
macro_rules! ways {
    ($($way:ident: $program:ident $scheme:ident;)*) => {
        $(mod $way {
            use crate::{closing, peer::alone, proxy::Program, site::{Scheme, Site}, transfers};

            fn site() -> Option<Site> {
                Site::start(Program::$program, Scheme::$scheme, &[])
            }

            #[test]
            fn uploads_a_gibibyte_to_a_slow_consumer() {
                alone(async || if let Some(site) = site() { transfers::upload(site).await });
            }

            #[test]
            fn downloads_a_gibibyte_to_a_slow_consumer() {
                alone(async || if let Some(site) = site() { transfers::download(site).await });
            }

            #[test]
            fn close_code_and_reason_come_through_both_ways() {
                alone(async || if let Some(site) = site() { closing::both_ways(site).await });
            }
        })*
    };
}

ways! {
    nginx: Nginx Ws;
    nginx_with_tls: Nginx Wss;
    haproxy: HaProxy Ws;
    haproxy_with_tls: HaProxy Wss;
}
