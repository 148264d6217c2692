//! What can be set on a TCP socket.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Options of the TCP sockets that a client dials and a [`Listener`](crate::Listener) accepts.
///
/// By default only `TCP_NODELAY` is set; the rest is as the system has it, which adjusts buffers by itself.
///
/// ```
/// use std::time::Duration;
/// use wsstream::TcpOptions;
///
/// let tcp = TcpOptions::default().keepalive(Duration::from_secs(60)).notsent_lowat(128 * 1024);
/// ```
#[derive(Clone, Debug)]
pub struct TcpOptions {
    nodelay: bool,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    keepalive: Option<Duration>,
    notsent_lowat: Option<u32>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { nodelay: true, send_buffer: None, receive_buffer: None, keepalive: None, notsent_lowat: None }
    }
}

impl TcpOptions {
    /// Whether what is written leaves at once (`TCP_NODELAY`). Default `true`: frames are put together before they are
    /// written, so that waiting for more would only add delay.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Bytes of the system's send buffer (`SO_SNDBUF`). Default: the system's, which grows with the connection; a number
    /// ends that. Linux doubles it.
    pub fn send_buffer_size(mut self, bytes: usize) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// Bytes of the system's receive buffer (`SO_RCVBUF`). As [`send_buffer_size`](Self::send_buffer_size).
    pub fn receive_buffer_size(mut self, bytes: usize) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// After how long without traffic the system probes whether the other host is there, and how long it waits between two
    /// probes; rounded to seconds. Default `None`, for never: pings do the same, through proxies too, and are seen by both
    /// ends ([`Config::ping_interval`](crate::Config::ping_interval)).
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.keepalive = time.into().map(|time| time.max(Duration::from_secs(1)));
        self
    }

    /// Bytes not yet sent above which the system takes no more (`TCP_NOTSENT_LOWAT`). What waits in the system's buffer is
    /// old when the network is slow; with 128 KiB or so it waits here instead, where `send` waits for it: for live media.
    /// Default: no limit but that of the send buffer. Linux and Android only; elsewhere it changes nothing.
    pub fn notsent_lowat(mut self, bytes: u32) -> Self {
        self.notsent_lowat = Some(bytes);
        self
    }

    /// Sets them, best before the socket connects: the window that TCP announces depends on the buffer.
    pub(crate) fn apply<'a>(&self, socket: impl Into<SockRef<'a>>) -> io::Result<()> {
        let socket = socket.into();
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(time) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(time);
            // OpenBSD and Haiku have but one time.
            #[cfg(not(any(target_os = "openbsd", target_os = "haiku")))]
            let keepalive = keepalive.with_interval(time);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(bytes) = self.notsent_lowat {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn what_is_set_is_set() {
        let socket = TcpSocket::new_v4().unwrap();
        let options = TcpOptions::default()
            .nodelay(false)
            .send_buffer_size(40_000)
            .receive_buffer_size(50_000)
            .keepalive(Duration::from_millis(10))
            .notsent_lowat(60_000);
        options.apply(&socket).unwrap();
        let socket = SockRef::from(&socket);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!((40_000..=80_000).contains(&socket.send_buffer_size().unwrap()));
        assert!((50_000..=100_000).contains(&socket.recv_buffer_size().unwrap()));
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 60_000);
        TcpOptions::default().apply(socket).unwrap();
    }

    #[tokio::test]
    async fn nothing_waits_by_default() {
        let socket = TcpSocket::new_v4().unwrap();
        TcpOptions::default().apply(&socket).unwrap();
        let socket = SockRef::from(&socket);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
    }
}
