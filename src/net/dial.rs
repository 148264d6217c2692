//! Resolving a host and connecting to one of its addresses.

use std::{collections::VecDeque, future::Future, io, net::SocketAddr, time::Duration};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::sleep,
};
use url::Host;

use super::{NetError, NetStream, TcpOptions};

/// How long one address is tried before the next one is tried beside it (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to a host by TCP: to whichever of its addresses answers first, tried in the resolver's order, families in
/// turn, with a head start for each (RFC 8305).
///
/// # Cancel safety
/// Dropping the future closes all attempts.
pub(super) async fn dial(host: &Host, port: u16, options: &TcpOptions) -> Result<NetStream, NetError> {
    let addresses = match host {
        Host::Ipv4(ip) => VecDeque::from([SocketAddr::from((*ip, port))]),
        Host::Ipv6(ip) => VecDeque::from([SocketAddr::from((*ip, port))]),
        Host::Domain(name) => {
            let found = lookup_host((name.as_str(), port)).await;
            families_in_turn(found.map_err(|error| NetError::Resolve(host.to_string(), error))?.collect())
        }
    };
    match first_of(addresses, |address| connect(address, options)).await {
        Ok(tcp) => Ok(NetStream::from(tcp)),
        Err(Some(error)) => Err(NetError::Connect(format!("{host}:{port}"), error)),
        Err(None) => {
            let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            Err(NetError::Resolve(host.to_string(), none))
        }
    }
}

async fn connect(address: SocketAddr, options: &TcpOptions) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    options.apply(&socket)?;
    socket.connect(address).await
}

/// The first attempt that succeeds. A failed one is followed by the next at once, a slow one after a while.
async fn first_of<T, F>(
    mut addresses: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Option<io::Error>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut attempts = FuturesUnordered::new();
    let mut last_error = None;
    loop {
        if let Some(address) = addresses.pop_front() {
            attempts.push(connect(address));
        }
        if attempts.is_empty() {
            return Err(last_error);
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(connected) => return Ok(connected),
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
    use std::future::pending;

    use tokio::{net::TcpListener, time::Instant};

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
        let (options, good) = (TcpOptions::default(), listener.local_addr().unwrap());
        let dial = |addresses: &[SocketAddr]| first_of(addresses.to_vec().into(), |address| connect(address, &options));
        assert!(dial(&[refused, good]).await.unwrap().nodelay().unwrap());
        assert_eq!(dial(&[refused]).await.unwrap_err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
        assert!(dial(&[]).await.unwrap_err().is_none());
    }

    /// In virtual time: addresses ending in 1 go nowhere, in 2 refuse, in 3 answer after a second, in 4 at once.
    async fn dial_in_virtual_time(addresses: &[&str]) -> (Result<SocketAddr, Option<io::Error>>, Duration) {
        let connect = async |address: SocketAddr| match address.port() {
            1 => pending().await,
            2 => Err(io::ErrorKind::ConnectionRefused.into()),
            3 => {
                sleep(Duration::from_secs(1)).await;
                Ok(address)
            }
            _ => Ok(address),
        };
        let addresses = families_in_turn(addresses.iter().map(|it| it.parse().unwrap()).collect());
        let started = Instant::now();
        (first_of(addresses, connect).await, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_goes_nowhere_costs_one_delay() {
        for (addresses, winner, after) in [
            (&["[::1]:1", "[::2]:1", "1.1.1.1:4"][..], "1.1.1.1:4", 250),
            (&["1.1.1.1:1", "2.2.2.2:1", "[::1]:4"], "[::1]:4", 250),
            (&["[::1]:2", "1.1.1.1:4"], "1.1.1.1:4", 0),
            (&["[::1]:3", "1.1.1.1:1", "[::2]:2"], "[::1]:3", 1000),
            (&["[::1]:3", "1.1.1.1:3"], "[::1]:3", 1000),
            (&["[::1]:1", "1.1.1.1:2", "[::2]:4"], "[::2]:4", 250),
        ] {
            let (result, elapsed) = dial_in_virtual_time(addresses).await;
            assert_eq!(result.unwrap(), winner.parse().unwrap(), "{addresses:?}");
            assert_eq!(elapsed.as_millis() / 10 * 10, after, "{addresses:?}");
        }
        let (result, _) = dial_in_virtual_time(&["[::1]:2", "1.1.1.1:2"]).await;
        assert_eq!(result.unwrap_err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    }
}
