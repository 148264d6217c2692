//! One application, behind each of the servers: what it does depends on the path.

use std::net::SocketAddr;

use tokio::{sync::mpsc, task::AbortHandle};
use wsstream::{
    AcceptUpgrade, CloseCode, CloseInfo, Compression, Config, Connections, Listener, Upgrade, WebSocketStream,
};

use crate::support::within;

/// How a connection ended, at the server.
pub(crate) type Ended = Result<CloseInfo, String>;

/// A server at work, until it is dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: Connections,
    ended: mpsc::UnboundedReceiver<Ended>,
    task: AbortHandle,
}

impl Server {
    pub(crate) async fn listener() -> Self {
        let (app, ended) = Application::new();
        let mut listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let (addr, connections) = (listener.local_addr().unwrap(), listener.connections());
        let task = tokio::spawn(async move {
            // After a shutdown it answers whoever comes, as the others do.
            while let Ok(upgrade) = listener.accept().await {
                let app = app.clone();
                tokio::spawn(async move {
                    if upgrade.uri().path() == "/nothing" {
                        let _ = upgrade.reject(http::StatusCode::NOT_FOUND).body("nothing here").await;
                        return;
                    }
                    let path = upgrade.uri().path().to_owned();
                    if let Ok(ws) = options(upgrade).await {
                        app.serve(&path, ws).await;
                    }
                });
            }
        });
        Self { addr, connections, ended, task: task.abort_handle() }
    }

    #[cfg(feature = "hyper")]
    pub(crate) async fn hyper() -> Self {
        use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
        use hyper_util::rt::TokioIo;
        use wsstream::HttpUpgrade;

        let (app, ended) = Application::new();
        let connections = app.connections.clone();
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = tcp.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = tcp.accept().await.unwrap();
                let app = app.clone();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let app = app.clone();
                    async move {
                        Ok::<_, std::convert::Infallible>(match HttpUpgrade::from_hyper(&mut request) {
                            Ok(upgrade) if upgrade.uri().path() == "/nothing" => {
                                Response::builder().status(404).body("nothing here".to_owned()).unwrap()
                            }
                            Ok(upgrade) => app.respond(upgrade),
                            Err(error) => error.into_response(),
                        })
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
            }
        });
        Self { addr, connections, ended, task: task.abort_handle() }
    }

    #[cfg(feature = "axum")]
    pub(crate) async fn axum() -> Self {
        use axum::{Router, extract::State, response::IntoResponse, routing::any};
        use wsstream::HttpUpgrade;

        async fn upgrade(State(app): State<Application>, upgrade: HttpUpgrade) -> impl IntoResponse {
            app.respond(upgrade)
        }

        let (app, ended) = Application::new();
        let connections = app.connections.clone();
        let nothing = any(|_: HttpUpgrade| async { (axum::http::StatusCode::NOT_FOUND, "nothing here") });
        let router = Router::new().route("/nothing", nothing).fallback(upgrade).with_state(app);
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = tcp.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(tcp, router).await.unwrap() });
        Self { addr, connections, ended, task: task.abort_handle() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }

    pub(crate) async fn connect(&self, path: &str) -> WebSocketStream {
        within(WebSocketStream::connect(self.url(path)).into_future()).await.unwrap()
    }

    /// How the next connection ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        within(self.ended.recv()).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Application {
    /// A listener has its own.
    #[cfg(feature = "hyper")]
    connections: Connections,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Application {
    fn new() -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (ended, receiver) = mpsc::unbounded_channel();
        let app = Self {
            #[cfg(feature = "hyper")]
            connections: Connections::new(),
            ended,
        };
        (app, receiver)
    }

    #[cfg(feature = "hyper")]
    fn respond(self, upgrade: wsstream::HttpUpgrade) -> http::Response<String> {
        let path = upgrade.uri().path().to_owned();
        let connections = self.connections.clone();
        options(upgrade).connections(&connections).on_upgrade(async move |ws| self.serve(&path, ws).await)
    }

    async fn serve(self, path: &str, ws: WebSocketStream) {
        let closed = ws.closed();
        match path {
            "/drop" => drop(ws),
            "/close" => {
                let mut ws = ws;
                let _ = ws.close(CloseCode::try_from(4001).unwrap(), "the server's reason").await;
            }
            // A half that is kept, and never reads.
            "/deaf" => {
                let _ = (ws.split(), closed.clone().await);
            }
            _ => {
                let _ = echo(ws).await;
            }
        }
        let _ = self.ended.send(closed.await.map_err(|error| error.to_string()));
    }
}

/// The decision, the same for each kind of upgrade.
fn options<T>(upgrade: Upgrade<T>) -> AcceptUpgrade<T> {
    let path = upgrade.uri().path().to_owned();
    let accept = upgrade.accept();
    match path.as_str() {
        "/protocols" => accept.protocols(["best", "good"]),
        "/unasked" => accept.protocol("unasked"),
        "/bad-header" => accept.header("upgrade", "x"),
        "/headers" => accept.header("set-cookie", "a=b").header("set-cookie", "c=d").header("x-more", "1"),
        "/origins" => accept.allow_origins(["https://app.example"]),
        "/any-origin" => accept.allow_any_origin(),
        "/deflate" => accept.config(Config::default().compression(Compression::default())),
        _ => accept,
    }
}

async fn echo(ws: WebSocketStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut readable, mut writable) = ws.split();
    while let Some(mut message) = readable.next_message().await? {
        let mut echo = writable.start_message(message.kind()).await?;
        while let Some(chunk) = message.chunk().await? {
            echo.write(chunk).await?;
        }
        echo.finish().await?;
    }
    writable.close(CloseCode::NORMAL, "").await?;
    Ok(())
}
