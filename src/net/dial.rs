//! Resolving a host and connecting to one of its addresses.

use std::{collections::VecDeque, io, net::SocketAddr, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    net::{TcpStream, lookup_host},
    time::sleep,
};
use url::Host;

use super::NetStream;

/// How long one address is tried before the next one is tried beside it (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    Resolve(io::Error),
    Connect(io::Error),
}

/// Connects to a host by TCP: to whichever of its addresses answers first, tried in the resolver's order, families in
/// turn, with a head start for each.
///
/// # Cancel safety
/// Dropping the future closes all attempts.
pub(crate) async fn dial(host: &Host, port: u16) -> Result<NetStream, DialError> {
    let addresses = match host {
        Host::Ipv4(ip) => VecDeque::from([SocketAddr::from((*ip, port))]),
        Host::Ipv6(ip) => VecDeque::from([SocketAddr::from((*ip, port))]),
        Host::Domain(name) => {
            let found = lookup_host((name.as_str(), port)).await.map_err(DialError::Resolve)?;
            families_in_turn(found.collect())
        }
    };
    let tcp = connect_to_first(addresses).await?;
    NetStream::from_tcp(tcp).map_err(DialError::Connect)
}

async fn connect_to_first(mut addresses: VecDeque<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut attempts = FuturesUnordered::new();
    let mut last_error = None;
    loop {
        if let Some(address) = addresses.pop_front() {
            attempts.push(TcpStream::connect(address));
        }
        if attempts.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(last_error.map_or_else(|| DialError::Resolve(none()), DialError::Connect));
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last_error = Some(error),
            },
            () = sleep(ATTEMPT_DELAY), if !addresses.is_empty() => {}
        }
    }
}

/// The resolver's order, but with IPv4 and IPv6 by turns, so that a family that goes nowhere costs one delay.
fn families_in_turn(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|it| it.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut turns: VecDeque<_> = preferred.into_iter().flat_map(|it| [Some(it), other.next()]).flatten().collect();
    turns.extend(other);
    turns
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses: Vec<SocketAddr> =
            ["[::1]:1", "[::2]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"].map(|it| it.parse().unwrap()).into();
        let order: Vec<_> = families_in_turn(addresses.clone()).into_iter().collect();
        assert_eq!(order, [addresses[0], addresses[2], addresses[1], addresses[3], addresses[4]]);
        assert!(families_in_turn(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = closed.local_addr().unwrap();
        drop(closed);
        let addresses = VecDeque::from([refused, listener.local_addr().unwrap()]);
        assert!(connect_to_first(addresses).await.is_ok());
        assert!(matches!(connect_to_first(VecDeque::from([refused])).await, Err(DialError::Connect(_))));
        assert!(matches!(connect_to_first(VecDeque::new()).await, Err(DialError::Resolve(_))));
    }
}
