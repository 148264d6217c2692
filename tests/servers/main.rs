//! The same behaviour whichever server read the request: the `Listener`, hyper, axum. Each case of [`cases`] is run against
//! each of them. Those of hyper and axum need the features: `cargo test --all-features --test servers`.

#[path = "../support/mod.rs"]
mod support;

mod any_framework;
mod application;
mod cases;
#[cfg(feature = "hyper")]
mod http_only;
mod raw;
mod refusals;
mod shutdown;

/// Each case against one server.
macro_rules! cases {
    ($server:ident: $($file:ident::{$($case:ident),* $(,)?}),* $(,)?) => {
        mod $server {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::support::within(crate::$file::$case(crate::application::Server::$server().await)).await;
                }
            )*)*
        }
    };
}

macro_rules! all_cases {
    ($server:ident) => {
        cases!($server:
            cases::{
                a_big_message_is_echoed_chunk_by_chunk,
                closing_by_the_client,
                closing_by_the_server,
                deflate_is_negotiated,
                dropping_at_the_client,
                dropping_at_the_server,
                headers_of_the_application,
                messages_right_after_the_head_are_not_lost,
                protocols_are_chosen_by_the_server,
                the_response_is_that_of_rfc_6455,
            },
            refusals::{
                by_the_application,
                mistakes_of_the_application_are_500,
                origins,
                requests_that_are_no_handshake,
            },
            shutdown::{
                connections_are_closed_with_1001_and_later_ones_refused,
                who_does_not_answer_is_aborted,
            },
        );
    };
}

all_cases!(listener);
#[cfg(feature = "hyper")]
all_cases!(hyper);
#[cfg(feature = "axum")]
all_cases!(axum);
